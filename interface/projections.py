"""``callosum projections``: the read models looked at, rebuilt, compared, put back, paused."""

# ruff: noqa: PLC0415  # a command imports what it needs when it runs, so that --help does not wait for it

from typing import Annotated

import typer

from interface.options import AsJson, OneParked, Url

__all__ = ["projections"]

projections = typer.Typer(
    name="projections",
    no_args_is_help=True,
    help="The read models: how they fare; to rebuild from the log, compare with it, put back, pause.",
)

Names = Annotated[
    list[str] | None, typer.Argument(metavar="NAME…", help="Of the projections.", show_default="all")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the projection.")]


@projections.command("list")
def list_(url: Url = None, json: AsJson = False) -> None:
    """List the generations of each read model: which one serves, which are kept or being built."""
    from interface.session import run
    from interface.upkeep import show_generations

    run(show_generations(json=json), url, projects=False)


@projections.command()
def status(names: Names = None, url: Url = None, json: AsJson = False) -> None:
    """Show how far each read model is, what it stands before, and which events are left out and why.

    Lag is in events and in seconds, unknown where it is not known. The exit status is 1 when one stands before an
    event, or has left one out that was not discarded.
    """
    from interface.session import run
    from interface.upkeep import show_status

    run(show_status(names or [], json=json), url, projects=False)


@projections.command()
def rebuild(names: Names = None, url: Url = None, json: AsJson = False) -> None:
    """Build read models anew from the log, compare, and let them serve.

    The old ones answer meanwhile, and are kept for a rollback. Killed, it goes on from there when called again.
    The exit status is 1 when an old one was different: the first row that was is shown with both values.
    """
    from interface.session import run
    from interface.upkeep import rebuild_models

    run(rebuild_models(names or [], swap=True, json=json), url, projects=False)


@projections.command()
def verify(names: Names = None, url: Url = None, json: AsJson = False) -> None:
    """Build read models anew from the log, and only compare.

    The exit status is 1 when one is different: the first row that is, is shown with both values.
    """
    from interface.session import run
    from interface.upkeep import rebuild_models

    run(rebuild_models(names or [], swap=False, json=json), url, projects=False)


@projections.command()
def rollback(name: Name, url: Url = None) -> None:
    """Answer from the generation before again; first it is folded up to where the other one is."""
    from interface.session import run
    from interface.upkeep import roll_back

    run(roll_back(name), url, projects=False)


@projections.command()
def pause(name: Name, url: Url = None) -> None:
    """Fold nothing more, in any process, until it is resumed."""
    from interface.session import run
    from interface.upkeep import pause_projection

    run(pause_projection(name), url, projects=False)


@projections.command()
def resume(name: Name, url: Url = None) -> None:
    """Go on after a pause, and with the event that it stands before."""
    from interface.session import run
    from interface.upkeep import resume_projection

    run(resume_projection(name), url, projects=False)


@projections.command()
def retry(name: Name, url: Url = None, json: AsJson = False) -> None:
    """Try again what could not be folded: after the program was mended.

    Events that were left out belong between others, so the read model is rebuilt. The exit status is 1 when some
    still cannot be folded.
    """
    from interface.session import run
    from interface.upkeep import retry_projection

    run(retry_projection(name, json=json), url, projects=False)


@projections.command()
def discard(name: Name, position: OneParked, url: Url = None) -> None:
    """Leave an event, and those behind it, out for good: it is no longer counted as left out."""
    from interface.session import run
    from interface.upkeep import discard_event

    run(discard_event(name, position), url, projects=False)
