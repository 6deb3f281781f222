"""Charts as SVG: where things lie, and what is written at them."""

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from markupsafe import Markup

from interface.report.charts import NARROW, WIDE, Band, Bar, Dot, Line, bands, bars, dots, lines
from interface.report.flow_figures import thinned
from interface.report.scales import Axis, bin_seconds, linear, logarithmic, ordinals, times

NOON = 1_772_366_400
SVG = "{http://www.w3.org/2000/svg}"


def elements(chart: Markup, name: str) -> list[ET.Element]:
    return list(ET.fromstring(chart).iter(name))


def texts(chart: Markup) -> list[str]:
    return [found.text or "" for found in elements(chart, "text")]


class TestScales:
    @pytest.mark.parametrize(
        ("low", "high", "ticks"),
        [
            (0, 1, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
            (0, 7, ["0", "2", "4", "6", "8"]),
            (-3.2, 9.1, ["-5", "0", "5", "10"]),
            (0, 0, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
            (0, 60_000, ["0", "20,000", "40,000", "60,000"]),
        ],
    )
    def test_a_linear_axis_has_round_ends_around_the_values(
        self, low: float, high: float, ticks: list[str]
    ) -> None:
        axis = linear("unit", low, high)
        assert [label for _, label in axis.ticks] == ticks
        assert axis.low <= low <= high <= axis.high
        assert (axis.place(axis.low), axis.place(axis.high)) == (0.0, 1.0)

    def test_messages_are_counted_from_1_to_the_last(self) -> None:
        axis = ordinals("message", 2558)
        assert [label for _, label in axis.ticks] == ["1", "500", "1,000", "1,500", "2,000", "2,500"]
        assert (axis.place(1), axis.place(2558)) == (0.0, 1.0)

    @pytest.mark.parametrize(("total", "ticks"), [(1, ["1"]), (3, ["1", "2", "3"]), (60, ["1", "20", "40", "60"])])
    def test_ticks_are_at_messages_that_there_are(self, total: int, ticks: list[str]) -> None:
        axis = ordinals("message", total, room=1)
        assert [label for _, label in axis.ticks] == ticks
        assert (axis.place(1), axis.place(total + 1)) == (0.0, 1.0)

    def test_a_logarithmic_axis_goes_from_power_to_power(self) -> None:
        axis = logarithmic("ms", 112, 4730, str)
        assert [value for value, _ in axis.ticks] == [100, 1000, 10_000]
        assert axis.place(1000) == pytest.approx(0.5)

    @pytest.mark.parametrize(
        ("span", "labels", "label"),
        [
            (20, ["12:00:00", "12:00:05", "12:00:10", "12:00:15", "12:00:20"], "time (UTC), 2026-03-01"),
            (86_400, ["12:00", "18:00", "00:00", "06:00", "12:00"], "time (UTC), 2026-03-01 to 2026-03-02"),
            (400_000, ["2026-03-02", "2026-03-03", "2026-03-04", "2026-03-05", "2026-03-06"], "time (UTC)"),
        ],
    )
    def test_a_stretch_of_time_has_ticks_at_round_moments(self, span: int, labels: list[str], label: str) -> None:
        axis = times(NOON, NOON + span)
        assert ([text for _, text in axis.ticks], axis.label) == (labels, label)

    def test_spans_are_round_and_few(self) -> None:
        assert [bin_seconds(span, 60) for span in (1, 60, 61, 3600, 10**6)] == [1, 1, 2, 60, 21_600]


class TestThinning:
    def test_of_few_changes_all_are_drawn(self) -> None:
        axis = times(NOON, NOON + 100)
        history = [(1000 * (NOON + n), n % 3) for n in range(5)]
        curve = thinned(history, axis)
        assert curve == [(NOON, 0), *((NOON + n, n % 3) for n in range(5)), (NOON + 100, 1)]

    def test_of_many_the_most_in_each_span_is_and_what_it_left(self) -> None:
        axis = times(NOON, NOON + 300)
        burst = [(1000 * (NOON + 100) + n, n % 10) for n in range(1, 401)]
        curve = thinned([*burst, (1000 * (NOON + 200), 7)], axis)
        assert curve == [
            (NOON, 0),
            (NOON + 100, 9),
            (NOON + 101, 0),
            (NOON + 200, 7),
            (NOON + 201, 7),
            (NOON + 300, 7),
        ]


X, Y = linear("x (s)", 0, 10), linear("y (%)", 0, 100)


class TestCharts:
    @pytest.mark.parametrize("width", [WIDE, NARROW])
    def test_axes_are_labelled_and_nothing_is_written_outside(self, width: int) -> None:
        chart = lines(width, X, Y, [Line("all", [(0, 0), (10, 100)])], "what it is")
        assert {"x (s)", "y (%)", "0", "100"} <= set(texts(chart))
        for text in elements(chart, "text"):
            assert 0 <= float(text.attrib["x"]) <= width
        root = ET.fromstring(chart)
        assert (root.attrib["role"], root.attrib["aria-label"]) == ("img", "what it is")

    def test_a_curve_is_interrupted_where_nothing_is_known(self) -> None:
        chart = lines(WIDE, X, Y, [Line("all", [(0, None), (1, 10), (2, 20), (3, None), (4, 40), (5, 50)])], "")
        [path] = elements(chart, "path")
        assert re.sub(r"[\d. ]+", "", path.attrib["d"]) == "MLML"
        assert not elements(lines(WIDE, X, Y, [Line("all", [(0, None)])], ""), "path")

    def test_bars_are_stacked(self) -> None:
        chart = bars(
            WIDE, X, Y, [Bar(0, 5, [("out", 30), ("back", 70)]), Bar(5, 10, [("out", 0), ("back", 50)])], ""
        )
        first, second, third = (
            (r.attrib["class"], float(r.attrib["y"]), float(r.attrib["height"])) for r in elements(chart, "rect")
        )
        assert (first[0], second[0], third[0]) == ("fill out", "fill back", "fill back")
        assert first[1] == pytest.approx(second[1] + second[2], abs=0.11)
        assert first[2] + second[2] == pytest.approx(2 * third[2], abs=0.2)

    def test_the_shortest_stretch_is_seen_and_one_is_drawn_where_many_share_their_pixels(self) -> None:
        many = [Band(5, 5.0001, "finding", f"<{n}>") for n in range(1000)]
        chart = bands(WIDE, X, {"echo loop": [*many, Band(9, 10, "finding", "last")]}, "")
        first, last = elements(chart, "rect")
        assert float(first.attrib["width"]) == 1.5
        assert [title.text for title in elements(chart, "title")] == ["<0>", "last"]
        assert last.attrib["class"] == "fill finding"

    def test_values_of_a_row_are_labelled_where_there_is_room(self) -> None:
        axis = logarithmic("ms", 1, 1000, str)
        row = [
            Dot(10, "out", "p50", "p50 10 ms"),
            Dot(10.1, "out", "p95", "p95 10 ms"),
            Dot(500, "out", "max", "max 1 s"),
        ]
        chart = dots(WIDE, axis, {"internal answers": row}, "")
        assert [text for text in texts(chart) if text in {"p50", "p95", "max"}] == ["p50", "max"]
        assert [title.text for title in elements(chart, "title")] == ["p50 10 ms", "p95 10 ms", "max 1 s"]

    def test_what_is_told_cannot_be_markup(self) -> None:
        hostile = '"><script>x</script>'
        chart = bands(WIDE, X, {hostile: [Band(0, 1, hostile, hostile)]}, hostile)
        assert "<script" not in chart
        assert not elements(chart, "script")

    def test_ticks_do_not_run_into_each_other(self) -> None:
        crowded = Axis("x", 0, 10, [(n / 10, f"{n:,} long label") for n in range(100)], lambda value: value / 10)
        written = [t for t in elements(lines(NARROW, crowded, Y, [], ""), "text") if "long" in (t.text or "")]
        ends = [(float(t.attrib["x"]), len(t.text or "") * 6.6) for t in written]
        assert len(written) > 1
        assert all(b - a >= (wide + wider) / 2 for (a, wide), (b, wider) in pairwise(ends))
