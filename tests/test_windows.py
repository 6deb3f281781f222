"""Sliding windows against their definitions: all calls kept, and all looked at again for every one."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.windows import CountWindow, TimeWindow, Window
from tests.circuits import NOON, stored

Call = tuple[bool, bool, int]
"""Whether it failed, whether it was slow, and milliseconds since the one before."""

STEPS = st.sampled_from([400, 1_000, 1_000, 2_500, 0, -3_000]) | st.integers(0, 15_000)
CALLS = st.lists(st.tuples(st.booleans(), st.booleans(), STEPS), min_size=20, max_size=60)
SIZES = st.integers(1, 11)


def totals(calls: list[Call]) -> tuple[int, int, int]:
    return len(calls), sum(failed for failed, _, _ in calls), sum(slow for _, slow, _ in calls)


def totals_of(window: Window) -> tuple[int, int, int]:
    return window.calls, window.failures, window.slow


@given(size=SIZES, calls=CALLS)
def test_count_based_window_has_the_totals_of_its_last_calls(size: int, calls: list[Call]) -> None:
    window = CountWindow(size)
    for number, (failed, slow, _) in enumerate(calls, 1):
        window.add(failed, slow, NOON)
        assert totals_of(window) == totals(calls[max(0, number - size) : number])


@given(size=SIZES, calls=CALLS)
def test_time_based_window_has_the_totals_of_its_last_seconds(size: int, calls: list[Call]) -> None:
    window, now, seconds = TimeWindow(size), NOON, [0]
    for number, (failed, slow, step) in enumerate(calls, 1):
        now += step
        window.add(failed, slow, now)
        seconds.append(max(seconds[-1], now // 1000))
        inside = [
            call for call, second in zip(calls[:number], seconds[1:], strict=True) if second > seconds[-1] - size
        ]
        assert totals_of(window) == totals(inside)


@given(size=SIZES, calls=CALLS)
@pytest.mark.parametrize("kind", [CountWindow, TimeWindow])
def test_window_goes_on_alike_when_it_is_stored_and_loaded_after_every_call(
    kind: type[Window], size: int, calls: list[Call]
) -> None:
    kept, loaded, now = kind(size), kind(size), NOON
    for failed, slow, step in calls:
        now += step
        kept.add(failed, slow, now)
        loaded.add(failed, slow, now)
        loaded = stored(loaded)
        assert loaded == kept


def test_window_of_a_hundred_calls_is_stored_in_at_most_fifty_bytes() -> None:
    window = CountWindow(100)
    for number in range(250):
        window.add(number % 2 == 0, number % 3 == 0, NOON)
    assert window.calls == 100
    assert len(msgspec.msgpack.encode(window)) <= 50
