import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from instil.stages.prepare import prepare
from instil.stages.say import Teller, harmless, sharing
from tests.stages.rows import alpacas


def told(*lines: tuple[str, str], **options: bool) -> str:
    out = io.StringIO()
    tell = Teller(Console(file=out, width=30), **options)
    for label, text in lines:
        tell.line(label, text)
    return out.getvalue()


def test_lines_are_not_broken_and_not_decorated() -> None:
    long = "a sentence that is much longer than the terminal is wide, with 12 and 'quotes' and /a/path"
    assert told(("data", long), ("", "more")) == f"data      {long}\n          more\n"
    assert told(("a long label", "text")) == "a long label text\n"
    assert told(("data", "[bold]x[/bold] :cat: \x1b[31m")) == "data      [bold]x[/bold] :cat: ␛[31m\n"


def test_only_one_rank_speaks() -> None:
    assert told(("data", "x"), quiet=True) == ""


@given(st.text())
def test_harmless_text_is_as_long_and_without_controls(text: str) -> None:
    found = harmless(text)
    assert len(found) == len(text) and harmless(found) == found
    for before, after in zip(text, found, strict=True):
        assert (
            before == after
            if before in "\n\t" or not (before < " " or "\x7f" <= before < "\xa0")
            else after in "\ufffd␡" or "␀" <= after <= "␟"
        )


@pytest.mark.parametrize("terminal", [True, False])
def test_rows_are_counted_on_a_terminal_only(terminal: bool) -> None:
    out = io.StringIO()
    tell = Teller(Console(file=out, force_terminal=terminal, width=60))
    with tell.preparing() as tick:
        tick(1234)
    assert ("1,234 rows" in out.getvalue()) == terminal


def test_sharing_is_counted_from_the_tokens(recipe, write):
    data = prepare(recipe(write("a.jsonl", *alpacas(6)), train__batch=6, train__epochs=1))
    paths = [tuple(path.tokens.tolist()) for path in data.paths_at(0)]
    nodes = {path[:n] for path in paths for n in range(1, len(path) + 1)}
    answers = sum(path.num_completion for path in data.paths_at(0))
    ratio = sum(map(len, paths)) / len(nodes)
    assert ratio > 1.2
    assert (
        sharing(data, tree=True)
        == f"{ratio:.2f}x fewer tokens to compute than rows hold; {answers / len(nodes):.0%} of them trained (first steps)"
    )
    assert sharing(data, tree=False).startswith("1.00x fewer")
