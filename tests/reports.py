"""Logs to make reports of: one whose every text is an attack, with enough beside it to sort, page and filter."""

import asyncio
from pathlib import Path
from uuid import UUID

from corpus_callosum import CircuitState, CorpusCallosum, Message, Settings, Tract
from domain.message import Payload

__all__ = ["ATTACKS", "HARMLESS", "LONG", "SMALL", "hostile", "make_log"]

SMALL = 60
"""Dialogues of one to three messages, with attributes."""

HARMLESS = "\u0645\u06cc\u200c\u0634\u0648\u062f \U0001f469\u200d\U0001f52c"
"""A Persian word and a picture, both with a joiner in them."""

LONG = 450
"""Messages of the longest dialogue; its last ones are an echo loop."""

ATTACKS = [
    "</script><script>window.ran = 'script'</script>",
    "<img src=x onerror=\"window.ran = 'img'\">",
    "<svg onload=\"window.ran = 'svg'\"><script>window.ran = 'inner'</script></svg>",
    "<iframe srcdoc=\"<script>parent.ran = 'frame'</script>\"></iframe><link rel=stylesheet href=http://example.invalid/a>",
    "javascript:window.ran='link'",
    "<!--<script>window.ran = 'comment'",
    "</title></style><style>body { display: none }</style>",
    "{{7*7}} {% raw %} ${7*7} #{7*7}",
    "line\u2028paragraph\u2029end",
    "\u202egnp.exe\u2066 \u200b \x00 \x1b[31m \\u0000 \ufeff \U000e0041",
    "__proto__",
    "w" * 5000,
]


def _said(n: int, payload: Payload, sender: str | None = None) -> Message:
    out = n % 2 == 1
    source, target = (Tract.INTERNAL, Tract.EXTERNAL) if out else (Tract.EXTERNAL, Tract.INTERNAL)
    return Message(source=source, target=target, sender=sender or ("planner" if out else "tool"), payload=payload)


def _forms(attack: str) -> list[Payload]:
    """Everywhere in a payload where text can be."""
    call = {"id": attack, "function": {"name": attack, "arguments": attack}}
    return [
        attack,
        {attack: [attack, {"x": attack}]},
        {"role": attack, "content": [attack, {"type": "text", "text": attack}], "tool_calls": [call], attack: 1},
        {"role": "tool", "name": attack, "content": f'{{"href": "{attack}"'},
    ]


async def hostile(callosum: CorpusCallosum) -> UUID:
    """A dialogue in which every text is an attack."""
    attributes: dict[str, Payload] = {attack[:90]: attack[:90] for attack in ATTACKS}
    dialogue = await callosum.open_dialogue(f"{HARMLESS} {' '.join(ATTACKS)}"[:2000], attributes=attributes)
    messages = [
        Message(
            source=Tract.INTERNAL,
            target=Tract.EXTERNAL,
            sender=attack[:200],
            recipient=attack[:200],
            correlation_id=attack[:500],
            headers={attack[:500]: attack},
            payload=form,
        )
        for attack in ATTACKS
        for form in _forms(attack)
    ]
    await callosum.send_many(dialogue, [*messages, messages[0]])
    await callosum.close_dialogue(dialogue, ATTACKS[0])
    return dialogue


async def _errand(callosum: CorpusCallosum, n: int) -> None:
    dialogue = await callosum.open_dialogue(f"errand {n}", attributes={"team": "ab"[n % 2], "number": n})
    await callosum.send_many(dialogue, [_said(m, f"step {m} of errand {n}") for m in range(1, n % 3 + 2)])


async def _fill(url: str) -> None:
    async with CorpusCallosum.open(settings=Settings(url=url, project=False)) as callosum:
        await hostile(callosum)
        await callosum.gates.force(Tract.EXTERNAL, CircuitState.DISABLED, by="the operator", why="to begin")
        await asyncio.gather(*(_errand(callosum, n) for n in range(SMALL)))
        await callosum.gates.force(Tract.EXTERNAL, CircuitState.CLOSED, by="the operator", why="it went well")
        long = await callosum.open_dialogue("a long talk")
        talk: list[Payload] = [f"thought {n}" for n in range(LONG - 6)] + ["again", "no"] * 3
        await callosum.send_many(long, [_said(n, payload) for n, payload in enumerate(talk)])
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=0) as subscription:
            subscription.request(40)
            for n in range(40):
                delivery = await anext(subscription)
                await (delivery.ack() if n % 3 else delivery.term("it is broken"))
        await callosum.gates.force(Tract.EXTERNAL, CircuitState.FORCED_OPEN, by="the operator", why="it is broken")


def make_log(directory: Path) -> str:
    """The URL of such a log."""
    url = f"sqlite:///{directory}/hostile.db"
    asyncio.run(_fill(url))
    return url
