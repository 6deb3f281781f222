"""A study as a document in Markdown, and docs/study.md: ``python -m interface.study_document FILE OUTCOME``."""

import asyncio
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from application.conclusions import p_value
from application.relations import FEWEST, MANY, PERMUTATIONS, SEED, Relation, Study
from corpus_callosum import CorpusCallosum
from interface.study import KNOWN, effect, figures, left_out, sentences, strip, to_read
from interface.text import one_line

__all__ = ["study_document", "with_study"]

_MARKUP: Final = re.compile(r"([\\`*_~$@#\[\]<>|&]|:(?=\S)|(?<=www)\.)", re.IGNORECASE)
"""What would be markup, or what GitHub makes of plain text: mathematics, links, mentions, pictures."""
METHOD: Final = f"""\
- A measure and two groups: Mann and Whitney's U, over every partition of the dialogues where there are at
  most {PERMUTATIONS:,} of them, else over {PERMUTATIONS:,} drawn ones (seed {SEED}). The effect is Cliff's δ:
  in how many of all pairs the second group has more, less in how many the first has; its interval is Cliff's
  asymmetric one with the unbiased variance and a t quantile (Feng and Cliff, 2004).
- A pattern and two groups: Fisher's exact test. The difference of the shares has Newcombe's interval (1998, method
  10), the odds ratio the exact conditional one.
- A number of more than two values: of a measure Spearman's ρ, with permutations as above and an interval by Bonett
  and Wright (2000); of a pattern the U of the outcome without it and with it.
- All p-values are two-sided. They are corrected for all tests that were made by Holm's method, which holds however
  these depend on each other. Intervals are of 95 %, each for itself.
- Of more than {MANY:,} dialogues with 50 or more in each group, normal approximations take the place of
  permutations, and the sample's odds ratio that of the conditional one.
- What remains at a like number of messages is the partial rank correlation with the outcome; it is an estimate
  beside the tests, and no test of its own.
- What is known of fewer than {FEWEST} dialogues of a group, what is the same in all, and a pattern that fewer
  than {FEWEST} have or lack, is not tested.
- {KNOWN}"""


def study_document(study: Study) -> str:
    """All of it, ending in a line feed. Text from dialogues cannot become markup."""
    parts = [f"# What goes with {_plain(study.outcome)}", "\n\n".join(map(_plain, study.conclusions))]
    if study.relations:
        parts += ["## Figures", "\n".join(_table(study)), "## One by one", _listed(sentences(study))]
    if study.untested:
        parts += ["## Not tested", _listed(left_out(study))]
    if read := to_read(study):
        parts += ["## To read", read[0], _listed(read[1:])]
    return "\n\n".join([*parts, "## How it was tested", METHOD]) + "\n"


def _table(study: Study) -> Iterator[str]:
    heads = [_plain(group.label) for group in study.groups] or ["median (quartiles)"]
    columns = ["measure or pattern", *heads, "", "effect", "interval", "p", f"p of all {len(study.relations)}"]
    yield _row(columns)
    yield _row(["---"] * len(columns))
    for relation in study.relations:
        yield _row(_cells(relation, study))


def _cells(relation: Relation, study: Study) -> list[str]:
    told = figures(relation, study)
    if not study.groups and len(told) == 2:
        told = [f"{told[0]} without, {told[1]} with"]
    strips = "<br>".join(f"`{strip(relation, group)}`" for group in relation.groups)
    ps = p_value(relation.p), p_value(relation.corrected_p)
    return [f"`{relation.name}`", *told, strips, *effect(relation), *map(_plain, ps)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_plain(line.removeprefix('• '))}" for line in lines)


def _plain(text: str) -> str:
    return _MARKUP.sub(r"\\\1", one_line(text))


def with_study(document: str, study: str) -> str:
    """The document with what stands between its markers written anew."""
    before, marker, rest = document.partition("<!-- study -->\n")
    _, end, after = rest.partition("<!-- end -->")
    return before + marker + study + end + after


async def _studied(file: Path, outcome: str) -> str:
    async with CorpusCallosum.open("sqlite://") as callosum:
        report = await callosum.import_transcripts(file)
        if report.broken:
            sys.exit(f"{len(report.broken)} lines of {file} are broken.")
        return study_document(await callosum.study(outcome))


if __name__ == "__main__":
    page = Path("docs/study.md").read_text()
    sys.stdout.write(with_study(page, asyncio.run(_studied(Path(sys.argv[1]), sys.argv[2]))))
