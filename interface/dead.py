"""``callosum dead``: dead letters listed, shown, redriven, discarded."""

# ruff: noqa: PLC0415  # a command imports what it needs when it runs, so that --help does not wait for it

from typing import Annotated

import typer

from interface.options import AsJson, Limit, MaybeDialogue, MaybeSequence, OfTract, OneDialogue, OneSequence, Url

__all__ = ["dead"]

dead = typer.Typer(
    name="dead",
    no_args_is_help=True,
    help="Dead letters: messages that were given up, after the last attempt or by their consumer.",
)

All = Annotated[bool, typer.Option("--all", help="All dead letters, or all of the tract.")]


@dead.command("list")
def list_(
    dialogue: MaybeDialogue = None,
    tract: OfTract = None,
    limit: Limit = 100,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """List dead letters: which, how often they were tried, when and by whom they were given up, and why."""
    from interface.delivery import show_letters
    from interface.session import run

    run(show_letters(dialogue, tract, limit, json=json), url)


@dead.command()
def show(dialogue: OneDialogue, sequence: OneSequence, url: Url = None, json: AsJson = False) -> None:
    """Show one dead letter with every recorded attempt and its error."""
    from interface.delivery import show_letter
    from interface.session import run

    run(show_letter(dialogue, sequence, json=json), url)


@dead.command()
def redrive(
    *,
    dialogue: MaybeDialogue = None,
    sequence: MaybeSequence = None,
    tract: OfTract = None,
    every: All = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.")] = "by hand",
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Have dead letters delivered again, as if for the first time: one, a dialogue's, or all.

    The exit status is 1 when there was none, or there was no room for all of them.
    """
    from interface.delivery import redrive_letters
    from interface.session import run

    _check(dialogue, every=every)
    run(redrive_letters(dialogue, sequence, tract, reason, json=json), url)


@dead.command()
def discard(
    *,
    dialogue: MaybeDialogue = None,
    sequence: MaybeSequence = None,
    tract: OfTract = None,
    every: All = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.")],
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Give dead letters up for good: one, a dialogue's, or all. What they say stays in the log.

    The exit status is 1 when there was none.
    """
    from interface.delivery import discard_letters
    from interface.session import run

    _check(dialogue, every=every)
    run(discard_letters(dialogue, sequence, tract, reason, json=json), url)


def _check(dialogue: str | None, *, every: bool) -> None:
    if dialogue is None and not every:
        raise typer.BadParameter("is needed, or --all.", param_hint="DIALOGUE")
    if dialogue is not None and every:
        raise typer.BadParameter("goes without a dialogue.", param_hint="--all")
