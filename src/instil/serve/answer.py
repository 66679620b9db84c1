"""What one answer has become so far: its tokens, the text that is certain, what may still turn out to be a stop string."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from instil.serve.values import Piece, TokenInfo
from instil.template.spelling import Spelling
from instil.template.tokenizer import ChatTokenizer


@dataclass
class Answer:
    """`take` tokens one by one; `piece` gives what became certain since it was last asked. `finish`: why it ended, or None."""

    spelling: Spelling
    stop_ids: frozenset[int]
    stops: tuple[str, ...]
    finish: str | None = None
    _held: str = ""
    _told: int = 0
    _tokens: list[tuple[int, TokenInfo]] = field(default_factory=list)

    @classmethod
    def behind(cls, prompt: Sequence[int], tokenizer: ChatTokenizer, stop_ids: frozenset[int], stops: tuple[str, ...]) -> "Answer":
        return cls(Spelling(prompt, tokenizer), stop_ids, tuple(stop for stop in stops if stop))

    def take(self, info: TokenInfo) -> None:
        assert self.finish is None
        if info.id in self.stop_ids:
            self._held += self.spelling.rest()
            self._tokens.append((self._told + len(self._held), info))
            self.finish = "stop"
        else:
            self._tokens.append((self._told + len(self._held), info))
            self._held += self.spelling.push(info.id)
        self._cut()

    def end(self, why: str) -> None:
        """No more tokens: `why`."""
        self._held += self.spelling.rest()
        self.finish = why
        self._cut()

    def piece(self) -> Piece | None:
        """The text that cannot become part of a stop string any more, and the tokens that begin in it; None: nothing new."""
        certain = len(self._held) if self.finish else len(self._held) - self._doubtful()
        text, self._held = self._held[:certain], self._held[certain:]
        self._told += certain
        told = [info for start, info in self._tokens if self.finish or start < self._told]
        self._tokens = self._tokens[len(told) :]
        return Piece(text, tuple(told), self.finish) if text or told or self.finish else None

    def _cut(self) -> None:
        """End at the first stop string. The token that completes it belongs to the answer, those that begin behind do not exist."""
        found = [at for stop in self.stops if (at := self._held.find(stop)) >= 0]
        if found:
            self._held, self.finish = self._held[: min(found)], "stop"

    def _doubtful(self) -> int:
        """Characters at the end that a stop string may begin with."""
        longest = max(map(len, self.stops), default=1) - 1
        for size in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-size:]) for stop in self.stops):
                return size
        return 0
