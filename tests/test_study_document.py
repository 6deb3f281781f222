"""docs/study.md is what comes out."""

from pathlib import Path

import pytest

from corpus_callosum import CorpusCallosum, Share, StudyVerdict
from interface.study_document import study_document, with_study
from tests.processes import ROOT

AIRLINE = ROOT.parent / "shared" / "data" / "airline-dialogues.jsonl"
PAGE = ROOT / "docs" / "study.md"


@pytest.mark.skipif(not AIRLINE.exists(), reason="the recorded dialogues are not there")
async def test_the_document_is_what_a_study_of_the_recorded_dialogues_says(tmp_path: Path) -> None:
    async with CorpusCallosum.open(f"sqlite:///{tmp_path}/callosum.db") as callosum:
        await callosum.import_transcripts(AIRLINE)
        told = await callosum.study("reward")
    page = PAGE.read_text()
    assert with_study(page, study_document(told)) == page, "make study writes it anew"
    by_name = {relation.name: relation for relation in told.relations}
    assert by_name["repetition"].groups == [Share(57, 13), Share(43, 4)]
    assert by_name["echo_loop"].groups == [Share(57, 6), Share(43, 2)]
    assert by_name["repetition"].verdict is StudyVerdict.NONE
    assert by_name["total_messages"].verdict is StudyVerdict.RELATED
    assert by_name["dialogue_balance_ratio"].like_length == pytest.approx(1)


def test_what_is_written_by_hand_stays() -> None:
    page = "before\n<!-- study -->\nold\n<!-- end -->\nafter\n"
    assert with_study(page, "new\n") == "before\n<!-- study -->\nnew\n<!-- end -->\nafter\n"
