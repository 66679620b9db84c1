"""From tokens that come one by one to text: whole characters only, each token read in front of what follows it."""

from collections.abc import Sequence

from instil.template.tokenizer import ChatTokenizer

WINDOW = 16  # tokens: decoding everything for every token would be quadratic


class Spelling:
    """The text that `push`ed tokens add behind `prompt`.

    Every piece is what a token adds to the text of the tokens before it. A short window of those is enough, if it begins with a whole
    character. Bytes of a character that is not whole are held back until it is, or until `rest`.
    """

    def __init__(self, prompt: Sequence[int], tokenizer: ChatTokenizer):
        self._tokenizer = tokenizer
        self._window, self._shown = _window(list(prompt[-4 * WINDOW :]), tokenizer)
        self._text = self._shown

    def push(self, token: int) -> str:
        self._window.append(token)
        self._text = self._tokenizer.decode(self._window)
        if self._text.endswith("\ufffd"):
            return ""
        piece = self._text[len(self._shown) :]
        if len(self._window) > 2 * WINDOW:
            self._window, self._shown = _window(self._window, self._tokenizer)
        else:
            self._shown = self._text
        self._text = self._shown
        return piece

    def rest(self) -> str:
        """What was held back: half a character, as U+FFFD."""
        return self._text[len(self._shown) :]


def _window(ids: list[int], tokenizer: ChatTokenizer) -> tuple[list[int], str]:
    """The last few of `ids`, more where those are not whole characters, and their text."""
    if len(ids) > 2 * WINDOW:
        text = tokenizer.decode(ids[-WINDOW:])
        if "\ufffd" not in text:
            return ids[-WINDOW:], text
    return ids, tokenizer.decode(ids)
