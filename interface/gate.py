"""``callosum gate``: what protects the tracts looked at, set, and opened and closed by hand."""

# ruff: noqa: PLC0415  # a command imports what it needs when it runs, so that --help does not wait for it

import typer

from interface.options import AsJson, AsOf, DoneBy, GateSettings, OneTract, Url, Why, moment

__all__ = ["gate"]

gate = typer.Typer(
    name="gate",
    no_args_is_help=True,
    help="What protects each tract: its circuit breaker and its capacity. docs/gates.md explains all of it.",
)


@gate.command()
def show(as_of: AsOf = None, url: Url = None, json: AsJson = False) -> None:
    """Show both gates: the circuit's state, since when and why, the backlog, and whom they refused.

    With --as-of it is as it was then, which answers why a message was refused at that time.
    """
    from interface.gates import show_gates
    from interface.session import run

    run(show_gates(moment(as_of), json=json), url)


@gate.command()
def configure(
    tract: OneTract, settings: GateSettings, *, why: Why, by: DoneBy = None, url: Url = None, json: AsJson = False
) -> None:
    """Change settings of a gate, for all processes, from now on. It is recorded who did so and why."""
    from interface.gates import configure_gate
    from interface.session import run

    run(configure_gate(tract, settings, by, why, json=json), url)


@gate.command("open")
def open_(tract: OneTract, why: Why, by: DoneBy = None, url: Url = None) -> None:
    """Let nothing into a tract and hand out nothing there, until somebody closes the circuit."""
    from interface.gates import force_gate
    from interface.session import run

    run(force_gate(tract, "forced_open", by, why), url)


@gate.command()
def close(tract: OneTract, why: Why, by: DoneBy = None, url: Url = None) -> None:
    """Close a circuit, with nothing held against it: it works again as its settings say."""
    from interface.gates import force_gate
    from interface.session import run

    run(force_gate(tract, "closed", by, why), url)


@gate.command()
def disable(tract: OneTract, why: Why, by: DoneBy = None, url: Url = None) -> None:
    """Let everything through whatever happens, until somebody closes the circuit. The capacity still holds."""
    from interface.gates import force_gate
    from interface.session import run

    run(force_gate(tract, "disabled", by, why), url)
