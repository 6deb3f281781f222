"""From when on something is a pattern is a setting; and another threshold is another read model."""

import asyncio
from pathlib import Path

import pytest
from pydantic import ValidationError

from application.settings import patterns
from corpus_callosum import CorpusCallosum, Settings
from domain.pattern_settings import PatternSettings
from projections.consciousness import Consciousness
from projections.fold import version_of
from tests.scenario import message
from tests.terminal import asked

NAMES = PatternSettings.__struct_fields__


def test_thresholds_are_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLOSUM_PATTERNS", "monologue_messages=30 dominance_share=0.9 stall_seconds=1.5")
    expected = PatternSettings(monologue_messages=30, dominance_share=0.9, stall_seconds=1.5)
    assert patterns(Settings()) == expected


def test_thresholds_are_taken_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "callosum.toml").write_text("[patterns]\nrepetition_window = 10\ndominance_window = 40\n")
    monkeypatch.setenv("CALLOSUM_SETTINGS", str(tmp_path / "callosum.toml"))
    assert patterns(Settings()) == PatternSettings(repetition_window=10, dominance_window=40)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("monologue_messages=1", "the monologue_messages is 1; it must be 2 to 1000"),
        ("foo=3", f"the setting of patterns foo does not exist; there are {', '.join(NAMES)}"),
        ("repetition_window=3,foo=2", "the repetition_window is '3,foo=2', which is no whole number"),
        ("stall_seconds", "the stall_seconds is '', which is no number"),
    ],
)
def test_what_cannot_be_set_is_told(told: str, says: str) -> None:
    with pytest.raises(ValidationError, match="patterns"):
        Settings(patterns=dict([told.partition("=")[::2]]))
    refused = asked("findings", CALLOSUM_PATTERNS=told)
    assert (refused.status, refused.out) == (2, "")
    assert refused.err == (
        f"callosum: The setting CALLOSUM_PATTERNS is refused: {says}; the form is name=value name=value.\n"
    )


@pytest.mark.parametrize(
    ("name", "told", "says"),
    [
        ("GATE", "capacity=-1", "the capacity is -1; it cannot be negative; the form is "),
        ("GATE", "extern.capacity=1", "there is no tract extern; the form is "),
        ("ON_ERROR", "deliveries=ignore", "Input should be 'fail', 'retry' or 'park'."),
    ],
)
def test_what_cannot_be_set_of_another_setting_is_told_by_its_name(name: str, told: str, says: str) -> None:
    refused = asked("findings", **{f"CALLOSUM_{name}": told})
    assert refused.status == 2
    assert refused.err.startswith(f"callosum: The setting CALLOSUM_{name} is refused: {says}")
    assert refused.err.endswith(".\n")


def test_every_threshold_of_what_is_stored_is_part_of_the_version() -> None:
    usual = version_of(Consciousness())
    changed = {
        "repetition_window": 3,
        "monologue_messages": 4,
        "dominance_window": 5,
        "dominance_share": 0.6,
        "stall_seconds": 7.0,
    }
    versions = {
        name: version_of(Consciousness(None, PatternSettings().changed(**{name: changed[name]})))
        for name in changed
    }
    assert [name for name in PatternSettings.__struct_fields__ if versions[name] == usual] == ["stall_seconds"]
    assert len(set(versions.values())) == len(versions)


async def test_another_threshold_builds_a_read_model_beside_the_old_one(lasting_url: str) -> None:
    async with CorpusCallosum.open(lasting_url) as callosum:
        dialogue = await callosum.open_dialogue("long")
        await callosum.send_many(dialogue, [message(number) for number in range(6)])
        assert (await callosum.findings()).total == 0
    shorter = Settings(url=lasting_url, patterns={"monologue_messages": 5})
    async with CorpusCallosum.open(settings=shorter) as callosum:
        [receipt] = await callosum.send_many(dialogue, [message(6)])
        [finding] = (await callosum.findings(at_least=receipt.position)).findings
        assert (finding.pattern, finding.count, finding.position) == ("monologue", 7, receipt.position)
        versions = {
            one.version for one in await callosum.projections.generations() if one.projection == "consciousness"
        }
        assert len(versions) == 2
    async with CorpusCallosum.open(lasting_url) as callosum:
        assert (await callosum.findings()).total == 0


async def test_an_answer_never_has_the_figures_of_another_threshold(lasting_url: str) -> None:
    async with CorpusCallosum.open(lasting_url) as callosum:
        dialogue = await callosum.open_dialogue("long")
        await callosum.send_many(dialogue, [message(number) for number in range(6)])
        assert (await callosum.findings()).total == 0
    for length in (3, 4, 5):
        other = Settings(url=lasting_url, patterns={"monologue_messages": length})
        async with CorpusCallosum.open(settings=other) as callosum:
            [finding] = (await callosum.findings()).findings
            assert (finding.pattern, finding.count) == ("monologue", 6)
    nobody_folds = Settings(url=lasting_url, patterns={"monologue_messages": 6}, project=False)
    async with CorpusCallosum.open(settings=nobody_folds) as callosum:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await callosum.findings()
