"""How a tract is protected: the settings of its gate, those of its circuit among them."""

from typing import Any, Final, TypeVar

import msgspec

from domain.circuit_settings import CircuitSettings
from domain.errors import InvalidCommandError

__all__ = ["SETTINGS", "USUAL_CAPACITY", "GateSettings"]

USUAL_CAPACITY: Final = 10_000


class GateSettings(msgspec.Struct, frozen=True, array_like=True):
    """How a tract is protected.

    Attributes:
        circuit: when its circuit opens and closes.
        capacity: the most messages on their way to it; 0: any number.
        high_watermark: the part of the capacity at which backpressure begins, above 0 to 1.
        low_watermark: the part of it at which it ends, and who waits for room goes on; 0 to the high one.
    """

    circuit: CircuitSettings = CircuitSettings()
    capacity: int = USUAL_CAPACITY
    high_watermark: float = 0.9
    low_watermark: float = 0.7

    def __post_init__(self) -> None:
        if self.capacity < 0:
            raise InvalidCommandError("capacity", f"is {self.capacity}; it cannot be negative")
        if not 0 < self.high_watermark <= 1:
            raise InvalidCommandError("high watermark", f"is {self.high_watermark}; it must be above 0, up to 1")
        if not 0 <= self.low_watermark <= self.high_watermark:
            reason = f"is {self.low_watermark}; it must be 0 up to the high one, {self.high_watermark}"
            raise InvalidCommandError("low watermark", reason)

    def changed(self, **changes: Any) -> "GateSettings":
        """The same with some others, by their names here and in `CircuitSettings`; numbers may be text.

        Raises:
            InvalidCommandError: there is no such setting, or a value is out of its range.
        """
        unknown = sorted(changes.keys() - set(SETTINGS))
        if unknown:
            raise InvalidCommandError("setting", f"{unknown[0]} does not exist; there are {', '.join(SETTINGS)}")
        circuit = {name: changes[name] for name in changes if name in CircuitSettings.__struct_fields__}
        own = {name: changes[name] for name in changes if name not in circuit}
        try:
            return _with(self, circuit=_with(self.circuit, **circuit), **own)
        except msgspec.ValidationError as error:
            raise InvalidCommandError("gate's settings", f"are refused: {error}") from None

    @property
    def high(self) -> int | None:
        """Messages on their way from which there is backpressure; None: there never is."""
        return max(1, round(self.capacity * self.high_watermark)) if self.capacity else None

    @property
    def low(self) -> int:
        """Messages on their way down to which there is."""
        return min(int(self.capacity * self.low_watermark), (self.high or 1) - 1)


SETTINGS: Final = (
    *(name for name in GateSettings.__struct_fields__ if name != "circuit"),
    *CircuitSettings.__struct_fields__,
)
"""The names of all settings of a gate, its circuit's among them."""

_Settings = TypeVar("_Settings", GateSettings, CircuitSettings)


def _with(settings: _Settings, **changes: Any) -> _Settings:
    values = {**msgspec.structs.asdict(settings), **changes}
    return msgspec.convert(list(values.values()), type(settings), strict=False)
