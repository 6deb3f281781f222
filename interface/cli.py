"""The command line: what can be asked for. What the commands do stands in `log` and `measures` beside this."""

# ruff: noqa: PLC0415  # a command imports what it needs when it runs, so that --help does not wait for it

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Final

import typer

from domain.dialogue import Kind
from interface.dead import dead
from interface.gate import gate
from interface.options import (
    IN_CHECKOUT,
    After,
    AsJson,
    AsJsonLines,
    AsMarkdown,
    AsOf,
    By,
    Capacity,
    Chain,
    ExportFormat,
    FailureRate,
    Filled,
    FindingsAfter,
    Force,
    Format,
    From,
    FsyncModes,
    Full,
    Kills,
    Limit,
    MaybeDialogue,
    OfKind,
    OfPattern,
    OfStatus,
    OneDialogue,
    OneSequence,
    Out,
    Outcome,
    Positive,
    Seconds,
    Senders,
    ServerProgram,
    SomeDialogues,
    Sort,
    SortedBy,
    Speed,
    Start,
    Stop,
    StudiedKind,
    Title,
    To,
    Tried,
    Url,
    Where,
    moment,
    position_after,
)
from interface.projections import projections

__all__ = ["app", "main"]

FINDINGS_SHOWN: Final = 100

app = typer.Typer(
    name="callosum",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=(
        "DIALOGUE is a dialogue's id or the beginning of one, as long as no other dialogue begins so. "
        "Exit status: 0 done; 1 done, and something was found wrong; 2 not done; 130 ended by Ctrl-C."
    ),
)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    try:
        typer.echo(f"callosum {version('corpus-callosum-service')}")
    except PackageNotFoundError:
        typer.echo("callosum, run from its source without being installed")
    raise typer.Exit


@app.callback()
def callosum(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and leave.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """A durable, replayable bridge between agents that think and agents that act."""


@app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE…",
            help="JSON Lines or JSON, chat format: objects with messages, traj or history, or lists of messages;"
            " or what `callosum export` wrote.",
        ),
    ],
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Record transcripts of past runs, or restore an exported log.

    Each dialogue is recorded whole or not at all, and none twice: importing a file again changes nothing.
    A broken line is reported with file, line and reason, the others are recorded, and the exit status is 1.

    An export (either format) is known by its first line. Its events keep ids, versions and times; what the log has
    already is passed over; nothing is delivered. The import ends at the first line that is broken, that the log
    contradicts, or that lacks what goes before. Nothing else should write to the log meanwhile. A later
    export of the same log adds what is new, unless another command or service has tried an open circuit since.
    """
    from interface.importing import import_files
    from interface.session import run

    run(import_files(files, json=json), url, creates=True)


@app.command()
def export(
    *,
    form: ExportFormat = Format.JSONL,
    first: From = None,
    last: To = None,
    out: Out[Path | None] = None,
    force: Force = False,
    url: Url = None,
) -> None:
    """Tell the log, or a range of it, as lines of JSON, one for each event; without --out on standard output.

    `callosum import` makes the same log of them again, in any store. Nothing of the store's encryption and
    compression is in them.
    """
    from application.exporting import Format as Form
    from interface.export import export_log
    from interface.session import run

    exporting = export_log(Form(form), moment(first), moment(last), out, url=url, force=force)
    run(exporting, url, reads_views=False)


@app.command()
def metrics(
    dialogue: MaybeDialogue = None,
    kind: OfKind = None,
    as_of: AsOf = None,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Measure balance, emergence, coordination and response times, of a dialogue or over all.

    Balance says how evenly the two tracts take part (0 to 1), coordination whether they take turns: far above 0
    they do, near 0 is what chance would give, far below 0 are two monologues.
    """
    from interface.measures import show_metrics
    from interface.session import run

    if dialogue is not None and kind is not None:
        raise typer.BadParameter("is for all dialogues, not for one.", param_hint="--kind")
    run(show_metrics(dialogue, kind, moment(as_of), json=json), url)


@app.command()
def dialogues(
    *,
    sort: SortedBy = Sort.LAST_ACTIVITY,
    descending: Annotated[
        bool, typer.Option("--desc/--asc", help="The greatest or latest first, or last; unknown is always last.")
    ] = True,
    kind: OfKind = None,
    status: OfStatus = None,
    pattern: OfPattern = None,
    where: Where = None,
    limit: Limit = 50,
    by: By = None,
    as_of: AsOf = None,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """List dialogues with their measures, or compare groups of them.

    Balance and emergence go from 0 to 1, emergence being unknown below 101 messages; coordination is in standard
    deviations from chance, and unknown below 20 messages between the tracts.
    """
    from interface.measures import Selection, show_dialogues, show_groups
    from interface.session import run
    from projections.queries import DialogueSort

    if by is not None:
        if status or pattern or where:
            raise typer.BadParameter(
                "goes with --kind, not with --status, --pattern or --where.", param_hint="--by"
            )
        run(show_groups(by, kind, moment(as_of), json=json), url)
    selection = Selection(
        kind=kind,
        status=status,
        pattern=pattern,
        where=dict(typed.split("=", 1) for typed in where or []),
        sort=DialogueSort(sort),
        descending=descending,
        limit=limit,
        as_of=moment(as_of),
    )
    run(show_dialogues(selection, json=json), url)


@app.command()
def study(
    *,
    outcome: Outcome,
    kind: StudiedKind = Kind.RECORDED,
    positive: Positive = None,
    as_of: AsOf = None,
    url: Url = None,
    json: AsJson = False,
    markdown: AsMarkdown = False,
) -> None:
    """Test whether an outcome of dialogues has to do with their measures and findings.

    Each measure and pattern is tested against an attribute, such as reward, with effect sizes and p-values, and
    corrected for all tests together. What follows is said in sentences, that nothing was found as well. Needs the
    extra study (SciPy).
    """
    from interface.session import run
    from interface.study import show_study

    if json and markdown:
        raise typer.BadParameter("goes without --json.", param_hint="--markdown")
    run(show_study(outcome, kind, positive, moment(as_of), json=json, markdown=markdown), url)


@app.command()
def findings(
    *,
    dialogue: MaybeDialogue = None,
    pattern: OfPattern = None,
    limit: Limit = FINDINGS_SHOWN,
    as_of: AsOf = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="Go on until Ctrl-C with what begins or grows, in the order of the log; a stall is told once."
            " With --json as JSON Lines.",
        ),
    ] = False,
    after: FindingsAfter = "0",
    url: Url = None,
    json: AsJson = False,
) -> None:
    """List where a pattern was found: the dialogue, first and last message, and why.

    The thresholds are settings (CALLOSUM_PATTERNS). Stalls are those of now, or of the moment that is asked about.
    """
    from interface.measures import follow_findings, show_findings
    from interface.session import run

    if not follow:
        if after != "0":
            raise typer.BadParameter("goes with --follow.", param_hint="--after")
        run(show_findings(dialogue, pattern, limit, moment(as_of), json=json), url)
    if as_of is not None:
        raise typer.BadParameter("asks for an earlier moment, and --follow for what comes.", param_hint="--as-of")
    if limit != FINDINGS_SHOWN:
        raise typer.BadParameter("is for a list, and --follow does not end.", param_hint="--limit")
    run(follow_findings(dialogue, pattern, position_after(after), json=json), url)


@app.command()
def transcript(dialogue: OneDialogue, full: Full = False, url: Url = None, json: AsJsonLines = False) -> None:
    """Read what was said in a dialogue.

    Control characters in it are shown as escapes and never reach the terminal.
    """
    from interface.log import show_transcript
    from interface.session import run

    run(show_transcript(dialogue, full=full, json=json), url)


@app.command()
def replay(
    dialogue: MaybeDialogue = None,
    *,
    first: From = None,
    last: To = None,
    speed: Speed = 2.0,
    full: Full = False,
    url: Url = None,
    json: AsJsonLines = False,
) -> None:
    """Step through history, message by message, with the measures as they were right after each.

    On a terminal: Enter, space or right for the next one, b or left for the one before, g and a position to go
    there, p to play and to pause, q to leave. Elsewhere all are printed at once.
    """
    from interface.session import run
    from interface.stepping import replay_log

    command = replay_log(dialogue, moment(first), moment(last), speed=speed, full=full, json=json)
    run(command, url)


@app.command()
def follow(
    *,
    after: After = "0",
    chain: Chain = None,
    dialogue: Annotated[
        str | None,
        typer.Option("--dialogue", metavar="DIALOGUE", help="Only its events.", show_default="all"),
    ] = None,
    full: Full = False,
    url: Url = None,
    json: AsJsonLines = False,
) -> None:
    """Watch the log: its history, then every event as it is recorded, until Ctrl-C.

    Where it cannot go on from what was seen, because the log has lost it or ends before, the last line tells the
    gap (with --json as an object `gap`: the first and last position that are unknown, where the log ends and why);
    the exit status is 2.
    """
    from interface.log import show_events
    from interface.session import run

    if chain is not None and after == "now":
        raise typer.BadParameter("goes with --after and a position.", param_hint="--chain")
    seen = None if chain is None else bytes.fromhex(chain)
    run(show_events(position_after(after), seen, dialogue, full=full, json=json), url)


@app.command()
def inbox(url: Url = None, json: AsJson = False) -> None:
    """See what is on its way to each tract.

    What is pending by priority and recipient, in flight by consumer, paused after a failed attempt, in line behind
    another message of its dialogue, and given up; with the age of the oldest and the highest attempt.
    """
    from interface.delivery import show_inbox
    from interface.session import run

    run(show_inbox(json=json), url, reads_views=False)


@app.command()
def explain(dialogue: OneDialogue, sequence: OneSequence, url: Url = None, json: AsJson = False) -> None:
    """Tell one message's whole life.

    When it was accepted, each attempt with consumer, outcome and error (a lost lease says so), how it ended and
    what answered it, with positions of the log and times; and where it stands now.
    """
    from interface.delivery import show_explanation
    from interface.session import run

    run(show_explanation(dialogue, sequence, json=json), url)


app.add_typer(dead)
app.add_typer(projections)
app.add_typer(gate)


@app.command()
def backtest(
    *,
    failure_rate: FailureRate = None,
    capacity: Capacity = None,
    tried: Tried = None,
    first: From = None,
    last: To = None,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Let recorded traffic through other gate settings, to see what these would have refused and when.

    Nothing is changed. With the settings that were in force it is exact; with others it is an estimate from the
    first transition on that would have been another one, and says so.
    """
    from interface.gates import backtest_gates
    from interface.session import run

    given = {"failure_rate_threshold": failure_rate, "capacity": capacity}
    settings = [f"{name}={value}" for name, value in given.items() if value is not None]
    run(backtest_gates([*settings, *(tried or [])], moment(first), moment(last), json=json), url)


@app.command()
def deliveries(as_of: AsOf = None, url: Url = None, json: AsJson = False) -> None:
    """Count what became of the messages to each tract, and how long it took.

    Accepted, delivered, acked, retried, expired and given up; how many are on their way now and were at most; and
    the time from acceptance to the first delivery, and to settlement. Dead letters that were redriven are on their
    way again.
    """
    from interface.activity import show_deliveries
    from interface.session import run

    run(show_deliveries(moment(as_of), json=json), url)


@app.command()
def timeline(
    *,
    kind: OfKind = None,
    start: Start = None,
    stop: Stop = None,
    limit: Limit = 60,
    filled: Filled = False,
    as_of: AsOf = None,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Chart what happened minute by minute: messages, dialogues, and how deliveries ended.

    Minutes are of the log's own time, that of recording. Where a range has too many, its last ones are shown.
    """
    from interface.activity import show_timeline
    from interface.session import run

    run(show_timeline(kind, start, stop, limit, moment(as_of), filled=filled, json=json), url)


@app.command()
def report(
    dialogues: SomeDialogues = None,
    *,
    out: Out[Path] = Path("report.html"),
    kind: OfKind = None,
    as_of: AsOf = None,
    title: Title = None,
    force: Force = False,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Write one page that shows what the log holds, for a browser.

    Balance and coordination over time, findings, response times, circuits and backlog as charts; a list of the
    dialogues to sort and to filter; each of them as a transcript. The page needs no network, and nothing that
    agents said runs in it.
    """
    from interface.report.command import write_report
    from interface.session import run

    if dialogues and kind is not None:
        raise typer.BadParameter("is for all dialogues, not for some.", param_hint="--kind")
    writing = write_report(
        dialogues or [],
        out,
        kind=kind,
        as_of=moment(as_of),
        title=title,
        url=url,
        force=force,
        json=json,
    )
    run(writing, url)


@app.command()
def verify(url: Url = None, json: AsJson = False) -> None:
    """Check that the log is what was written.

    Recomputes every digest and every link of the chain, and reads every event. When something is not as it was
    written, the first such position is named and the exit status is 1.
    """
    from interface.log import verify_log
    from interface.session import run

    run(verify_log(json=json), url, reads_views=False)


@app.command()
def durability(
    *,
    fsync: FsyncModes = None,
    senders: Senders = 64,
    seconds: Seconds = 3.0,
    kills: Kills = 5,
    server: ServerProgram = None,
    json: AsJson = False,
) -> None:
    """See what a Redis server loses when it is killed.

    Starts one of its own in the temporary directory (TMPDIR names another disk), kills it while messages are sent,
    restarts it, and looks for every acknowledged message in its log. Servers that run already are not touched.
    The exit status is 1 when a message was lost although appendfsync was always.
    """
    from application.durability import FSYNC_MODES, Trial
    from interface.durability import show_durability
    from interface.session import leave_with

    asked = fsync or ("always", "everysec")
    modes = [mode for mode in FSYNC_MODES if mode in asked]
    trial = Trial(fsync=modes, senders=senders, seconds=seconds, kills=kills, server=server)
    leave_with(show_durability(trial, json=json))


@app.command()
def doctor(url: Url = None, json: AsJson = False) -> None:
    """Examine the store: what it can lose, what it has room for, and why it would be refused.

    Nothing is changed, and the log is not opened. The exit status is 2 when the service refuses the store, 0 when
    there are only warnings.
    """
    from interface.doctor import diagnose
    from interface.session import leave_with

    leave_with(diagnose(url, json=json))


@app.command()
def demo(
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIRECTORY",
            help="What the agents survey.",
            show_default="this project" if IN_CHECKOUT else "current directory",
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url", metavar="URL", help="Its log, in a file.", show_default="a new one in a temporary directory"
        ),
    ] = None,
) -> None:
    """See it work: two groups of agents talk over a bridge that is killed and restarted on the way.

    The exit status is 1 when a message was lost, or the log is not as it was written.
    """
    from interface.demo.scene import run_demo
    from interface.session import console, leave_with

    async def play() -> int:
        return (await run_demo(directory, url, console=console())).exit_status

    leave_with(play())


def main() -> None:
    app(prog_name="callosum")


if __name__ == "__main__":
    main()
