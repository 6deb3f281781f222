"""What each setting of the circuit does: errors, windows, ranges, and changes while it runs."""

import msgspec
import pytest

from domain.circuit import Circuit, CircuitSettings, WindowType
from domain.errors import InvalidCommandError
from domain.windows import TimeWindow
from tests.circuits import CLOSED, NOON, OPEN, SMALL, TIMED, changed, half_opened, opened, stored, tell, wait_over


class TestErrors:
    """Which of them count; in resilience4j, too, the ignored ones are looked at first."""

    def test_an_ignored_error_is_neither_success_nor_failure(self) -> None:
        circuit = Circuit(changed(ignored_errors=("TimeoutError",)))
        assert tell(circuit, "xxxX") == []
        assert circuit.calls == 0

    def test_an_ignored_error_stays_ignored_when_it_is_recorded_too(self) -> None:
        circuit = Circuit(changed(ignored_errors=("TimeoutError",), recorded_errors=("TimeoutError",)))
        tell(circuit, "xxxx")
        assert circuit.calls == 0

    def test_any_other_error_than_the_recorded_ones_is_a_success(self) -> None:
        circuit = Circuit(changed(recorded_errors=("OSError", "ValueError")))
        assert tell(circuit, "xxxx") == []
        assert circuit.failure_rate == 0.0

    @pytest.mark.parametrize("error", ["OSError", "OSError:", "OSError: [Errno 5] TimeoutError: disk"])
    def test_an_error_is_known_by_what_is_before_its_first_colon(self, error: str) -> None:
        settings = changed(recorded_errors=("OSError",), ignored_errors=("TimeoutError",))
        assert settings.fails(error)
        assert not settings.ignores(error)

    def test_a_success_is_never_ignored_and_never_a_failure(self) -> None:
        settings = changed(ignored_errors=("OSError",), recorded_errors=("OSError",))
        assert (settings.ignores(None), settings.fails(None)) == (False, False)


class TestTimeBasedWindow:
    def test_it_holds_the_calls_of_its_last_seconds(self) -> None:
        circuit = Circuit(TIMED)
        tell(circuit, "x..", at=NOON)
        tell(circuit, "....x", at=NOON + 9_999)
        assert (circuit.calls, circuit.failure_rate) == (8, 25.0)
        tell(circuit, ".", at=NOON + 10_000)
        assert (circuit.calls, circuit.failure_rate) == (6, 100 / 6)

    def test_it_holds_any_number_of_calls_and_may_ask_for_more_than_it_has_seconds(self) -> None:
        circuit = Circuit(changed(TIMED, minimum_number_of_calls=500))
        assert tell(circuit, "x" * 499) == []
        assert [opening.calls for opening in tell(circuit, "x")] == [500]

    def test_it_goes_by_the_seconds_of_the_clock(self) -> None:
        circuit = Circuit(changed(TIMED, sliding_window_size=1))
        tell(circuit, ".", at=NOON + 999)
        tell(circuit, ".", at=NOON + 1_000)
        assert circuit.calls == 1

    def test_it_is_empty_after_a_pause_of_its_size(self) -> None:
        circuit = Circuit(TIMED)
        tell(circuit, "x..")
        tell(circuit, ".", at=NOON + 10**9)
        assert (circuit.calls, circuit.window.failures) == (1, 0)

    def test_it_takes_time_that_goes_backwards_for_its_latest_second(self) -> None:
        circuit = Circuit(TIMED)
        tell(circuit, "..", at=NOON)
        tell(circuit, "..", at=NOON - 3_600_000)
        assert circuit.calls == 4
        tell(circuit, ".", at=NOON + 9_000)
        assert circuit.calls == 5

    def test_it_knows_its_rates_again_only_with_enough_calls(self) -> None:
        circuit = Circuit(TIMED)
        tell(circuit, "....")
        assert circuit.failure_rate == 0.0
        assert tell(circuit, "x", at=NOON + 60_000) == []
        assert circuit.failure_rate is None


class TestConfigure:
    @pytest.mark.parametrize(
        "change", [{"sliding_window_size": 11}, {"sliding_window_type": WindowType.TIME_BASED}]
    )
    def test_it_begins_the_window_anew_when_that_is_another(self, change: dict[str, object]) -> None:
        circuit = Circuit(SMALL)
        tell(circuit, "xxx")
        circuit.configure(changed(**change))
        assert (circuit.state, circuit.generation, circuit.calls) == (CLOSED, 0, 0)
        assert tell(circuit, "xxx") == []
        assert circuit.window == stored(circuit.window)

    def test_it_keeps_the_window_when_other_things_change(self) -> None:
        circuit = Circuit(SMALL)
        tell(circuit, "x...")
        circuit.configure(changed(failure_rate_threshold=20.0, minimum_number_of_calls=5))
        assert (circuit.calls, circuit.failure_rate) == (4, None)
        assert [opening.failure_rate for opening in tell(circuit, ".")] == [20.0]

    def test_it_keeps_the_time_until_which_it_is_open(self) -> None:
        circuit = opened()
        circuit.configure(changed(wait_in_open=1.0))
        assert circuit.due_at() == NOON + 30_000

    @pytest.mark.parametrize("permitted", [1, 9])
    def test_it_keeps_the_probes_under_way_and_permits_others_the_next_time(self, permitted: int) -> None:
        circuit = half_opened()
        tell(circuit, "xx")
        circuit.configure(changed(TIMED, permitted_calls_in_half_open=permitted))
        assert (circuit.permitted_calls, circuit.calls) == (3, 2)
        assert [opening.state for opening in tell(circuit, "x")] == [OPEN]
        assert wait_over(circuit).permitted_calls == permitted

    def test_it_has_the_configured_window_once_the_probes_have_passed(self) -> None:
        circuit = half_opened()
        circuit.configure(TIMED)
        tell(circuit, "...")
        assert circuit.window == TimeWindow(10)

    def test_it_asks_for_as_many_calls_as_are_configured_whatever_the_state(self) -> None:
        circuit = opened()
        circuit.configure(changed(minimum_number_of_calls=2))
        tell(wait_over(circuit), "...")
        assert len(tell(circuit, "xx")) == 1


class TestSettings:
    def test_their_defaults_are_those_of_resilience4j(self) -> None:
        assert msgspec.to_builtins(msgspec.structs.asdict(CircuitSettings())) == {
            "failure_rate_threshold": 50.0,
            "slow_call_rate_threshold": 100.0,
            "slow_call_duration": 60.0,
            "sliding_window_type": "count_based",
            "sliding_window_size": 100,
            "minimum_number_of_calls": 100,
            "wait_in_open": 60.0,
            "wait_multiplier": 1.0,
            "longest_wait_in_open": 3600.0,  # there, none is set
            "permitted_calls_in_half_open": 10,
            "max_wait_in_half_open": 0.0,
            "recorded_errors": (),
            "ignored_errors": (),
        }

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("failure_rate_threshold", 0.0),
            ("failure_rate_threshold", 100.1),
            ("failure_rate_threshold", float("nan")),
            ("slow_call_rate_threshold", -1.0),
            ("slow_call_duration", 0.0),
            ("sliding_window_size", 0),
            ("sliding_window_size", 100_001),
            ("minimum_number_of_calls", 0),
            ("wait_in_open", 0.0),
            ("wait_in_open", float("inf")),
            ("wait_multiplier", 0.99),
            ("longest_wait_in_open", 29.9),
            ("permitted_calls_in_half_open", 0),
            ("max_wait_in_half_open", -0.1),
            ("max_wait_in_half_open", 0.000_9),
        ],
    )
    def test_one_outside_its_range_is_refused_by_name(self, name: str, value: float) -> None:
        with pytest.raises(InvalidCommandError, match=f"^The {name} is ") as refused:
            changed(**{name: value})
        assert refused.value.argument == name

    @pytest.mark.parametrize("name", ["", "OSError: disk"])
    def test_a_name_that_no_type_of_error_has_is_refused(self, name: str) -> None:
        for setting in ("recorded_errors", "ignored_errors"):
            with pytest.raises(InvalidCommandError, match="name of an error"):
                changed(**{setting: ("OSError", name)})
