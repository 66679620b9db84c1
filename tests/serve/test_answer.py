"""Text goes out when it is certain: whole characters, and nothing that a stop string may begin with."""

from hypothesis import given
from hypothesis import strategies as st

from instil.serve.answer import Answer
from instil.serve.values import Piece, TokenInfo
from instil.template.tokenizer import ChatTokenizer
from tests.fakes import byte_level_tokenizer

TOKENIZER = ChatTokenizer(byte_level_tokenizer(), {}, {}, (), False)
EOS = TOKENIZER.vocab_size - 1
PROMPT = TOKENIZER.encode("Tell: ")


def pieces(tokens: list[int], stops: tuple[str, ...] = ()) -> list[Piece]:
    answer = Answer.behind(PROMPT, TOKENIZER, frozenset({EOS}), stops)
    found = []
    for token in tokens:
        answer.take(TokenInfo(token))
        if (piece := answer.piece()) is not None:
            found.append(piece)
        if answer.finish:
            return found
    answer.end("length")
    last = answer.piece()
    assert last is not None
    return [*found, last]


def text_of(found: list[Piece]) -> str:
    return "".join(piece.text for piece in found)


@given(st.text(max_size=40), st.lists(st.text(min_size=1, max_size=5), max_size=3))
def test_the_text_is_all_that_stands_before_the_first_stop_string(text: str, stops: list[str]) -> None:
    found = pieces(TOKENIZER.encode(text), tuple(stops))
    at = min((at for stop in stops if (at := text.find(stop)) >= 0), default=None)
    assert text_of(found) == (text if at is None else text[:at])
    assert found[-1].finish == ("length" if at is None else "stop")
    assert all(piece.finish is None for piece in found[:-1])


@given(st.text(max_size=40))
def test_every_token_is_told_once_and_in_order(text: str) -> None:
    tokens = [*TOKENIZER.encode(text), EOS]
    found = pieces(tokens, ("zz",))
    if "zz" not in text:
        assert [info.id for piece in found for info in piece.tokens] == tokens
        assert found[-1].finish == "stop"


def test_a_character_of_four_bytes_comes_whole() -> None:
    found = pieces(TOKENIZER.encode("a🙂b"))
    assert [piece.text for piece in found if piece.text] == ["a", "🙂", "b"]


def test_half_a_character_at_the_end_is_told_as_what_it_is() -> None:
    found = pieces(TOKENIZER.encode("a🙂")[:-1])
    assert text_of(found).startswith("a") and "\ufffd" in text_of(found)


def test_what_may_become_a_stop_string_is_held_back() -> None:
    answer = Answer.behind(PROMPT, TOKENIZER, frozenset({EOS}), ("\n\nQ",))
    told = []
    for token in TOKENIZER.encode("yes\n\nno"):
        answer.take(TokenInfo(token))
        piece = answer.piece()
        told.append(piece.text if piece else None)
    assert told == ["y", "e", "s", None, None, "\n\nn", "o"]


def test_tokens_behind_a_stop_string_do_not_exist() -> None:
    found = pieces([*TOKENIZER.encode("ab END cd"), EOS], (" END",))
    assert text_of(found) == "ab"
    assert len([info for piece in found for info in piece.tokens]) == len(TOKENIZER.encode("ab END"))
