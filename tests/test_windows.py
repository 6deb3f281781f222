"""Sliding windows against their definitions: all calls kept, and all looked at again for every one."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.windows import CountWindow, TimeWindow, Window
from tests.circuits import NOON, stored

CALLS = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60)
STEPS = st.sampled_from([0, 1, 400, 1_000, 2_500, 7_000, 60_000, -3_000])


def totals(calls: list[tuple[bool, bool]]) -> tuple[int, int, int]:
    return len(calls), sum(failed for failed, _ in calls), sum(slow for _, slow in calls)


def totals_of(window: Window) -> tuple[int, int, int]:
    return window.calls, window.failures, window.slow


@given(size=st.integers(1, 11), calls=CALLS)
def test_count_based_window_has_the_totals_of_its_last_calls(size: int, calls: list[tuple[bool, bool]]) -> None:
    window = CountWindow(size)
    for number, (failed, slow) in enumerate(calls, 1):
        window.add(failed, slow, NOON)
        assert totals_of(window) == totals(calls[max(0, number - size) : number])


@given(size=st.integers(1, 11), calls=CALLS, steps=st.lists(STEPS, min_size=60, max_size=60))
def test_time_based_window_has_the_totals_of_its_last_seconds(
    size: int, calls: list[tuple[bool, bool]], steps: list[int]
) -> None:
    window, now, seconds = TimeWindow(size), NOON, [0]
    for number, ((failed, slow), step) in enumerate(zip(calls, steps, strict=False), 1):
        now += step
        window.add(failed, slow, now)
        seconds.append(max(seconds[-1], now // 1000))
        inside = [
            call for call, second in zip(calls[:number], seconds[1:], strict=True) if second > seconds[-1] - size
        ]
        assert totals_of(window) == totals(inside)


@given(size=st.integers(1, 11), calls=CALLS, steps=st.lists(STEPS, min_size=60, max_size=60))
@pytest.mark.parametrize("kind", [CountWindow, TimeWindow])
def test_window_goes_on_alike_when_it_is_stored_and_loaded_after_every_call(
    kind: type[Window], size: int, calls: list[tuple[bool, bool]], steps: list[int]
) -> None:
    kept, loaded, now = kind(size), kind(size), NOON
    for (failed, slow), step in zip(calls, steps, strict=False):
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
