"""Models whose answers a test decides: everything else about them (template, tokens, queue of pieces) is as in a real one."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable

from instil.serve.values import Piece, Served, TokenInfo, Wanted
from instil.template.contract import make_contract
from tests.fakes import EOS, OWN_TEMPLATE
from tests.serve.served import tokenizer

Reply = Callable[[str], str]
SURE = (0.95, 0.6, 0.3, 0.04)
"""Probabilities of an echoed text's tokens, again and again."""


class Scripted:
    """An engine that answers what `reply` makes of the prompt's text, a piece for every few characters, each `pause` seconds after the one
    before. `left`: requests that went away before their answer was complete; `asked`: all."""

    def __init__(self, reply: Reply, pause: float = 0.0):
        self.reply, self.pause = reply, pause
        self.tokenizer = tokenizer()
        self.asked: list[Wanted] = []
        self.left = 0

    async def submit(self, request: Wanted) -> AsyncIterator[Piece]:
        self.asked.append(request)
        if request.echo:
            yield Piece("", tuple(self._echoed(request)), "length")
            return
        text = self.reply(self.tokenizer.decode(list(request.prompt)))
        whole = False
        try:
            for start in range(0, len(text), 7):
                await asyncio.sleep(self.pause)
                yield Piece(text[start : start + 7])
            whole = True
            yield Piece("", (), "stop")
        finally:
            self.left += not whole

    def _echoed(self, request: Wanted) -> list[TokenInfo]:
        chances = [SURE[place % len(SURE)] for place in range(len(request.prompt))]
        pairs = list(zip(request.prompt, chances, strict=True))
        return [TokenInfo(token, math.log(p), ((token, math.log(p)), ((token + 1) % 200, math.log(0.02))), True) for token, p in pairs]

    def gauges(self) -> dict[str, float]:
        return {"running": 0.0, "waiting": 0.0}


def scripted(id: str, reply: Reply, *, template: str | None = OWN_TEMPLATE, pause: float = 0.0, context: int = 4096) -> Served:
    """A model that says what `reply` says."""
    chat = tokenizer(template)
    assert chat.id_of(EOS) is not None
    contract = make_contract(chat, "own", where=id) if template else None
    return Served(id, contract, chat, context, Scripted(reply, pause))
