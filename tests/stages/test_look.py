"""What is shown is what is trained, to the token; and what rows contain stays text."""

import io
import os
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from instil.core.errors import UserError
from instil.stages.look import _spread, count, look, page, row_at, step_tree, trained_rows
from instil.stages.prepare import Data, prepare
from tests.fakes import EOS, alpaca_rows
from tests.stages.rows import alpacas, chat

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)> & [bold]x[/bold] :cat: \x1b[31mred\x1b[0m \x9b0m \x7f"


def looked(recipe, **options) -> tuple[Data, str]:
    """(data, everything printed) of one look, in a pipe."""
    out = io.StringIO()
    return look(recipe, console=Console(file=out, width=80), **options), out.getvalue()


class Page(HTMLParser):
    """The page as a browser sees it: elements, the rows' tokens with ids and classes, and all text."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.rows: list[str] = []
        self.tokens: list[list[tuple[str, int, str]]] = []
        self.text = ""
        self._classes: list[str] = []
        self._token: tuple[str, int] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.elements[tag] += 1
        self.attributes |= given.keys()
        if given.get("class") == "tokens" and tag == "div":
            self.tokens.append([])
        if tag == "span" and "title" in given:
            self._token = given["class"], int(given["title"])
            self.tokens[-1].append((*self._token, ""))

    def handle_endtag(self, tag: str) -> None:
        self._token = None if tag == "span" else self._token
        self.text += " " if tag in ("td", "h2") else ""

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._token is not None:
            self.tokens[-1][-1] = (*self._token, data)


def paths_of(data: Data, number: int) -> list[tuple[list[int], int]]:
    """(tokens, how many are context) of the paths of row `number` of the first source, from the store."""
    return [(path.tokens.tolist(), path.num_context) for path in data.stores[0].paths(number - 1)]


def test_the_page_shows_the_very_tokens(recipe, write):
    data = prepare(recipe(write("a.jsonl", chat("Hi", "Hø 😀", "Hm", "Ha\n\ttwo", system="Be brief."), chat("a", "b"), chat("c", "d"))))
    shown = Page(page(data, count(data), [1, 3]))
    first, second, third = shown.tokens
    (one, context), (two, longer) = paths_of(data, 1)
    assert [id for _, id, _ in first] == one
    assert [kind.split()[0] for kind, _, _ in first] == ["context"] * context + ["trained"] * (len(one) - context - 1) + ["stop"]
    repeated = len(two) - len(second)
    assert 0 < repeated <= longer and two[:repeated] == one[:repeated] and [id for _, id, _ in second] == two[repeated:]
    assert f"the first {repeated} as before" in shown.text
    assert [id for _, id, _ in third] == paths_of(data, 3)[0][0]
    text = "".join(text for _, _, text in first).replace("↵\n", "\n").replace("·", "")
    assert text == data.contract.tokenizer.decode(one)
    assert {text for kind, _, text in first if "control" in kind} == {"<|begin|>", EOS}


def test_the_page_counts_every_row(recipe, write):
    rows = *alpacas(9), *alpacas(1), {"output": "x"}, {"instruction": EOS, "output": "x"}
    data = prepare(recipe(write("a.jsonl", *rows), holdout__examples="3"))
    shown = re.sub(r"\s+", " ", Page(page(data, count(data), [])).text)
    for words in (
        "kept 6 trained whole",
        "refused 2 not trained",
        "bad_row 1 the row lacks",
        "control_token 1 text",
        "duplicate 1",
        "held out 3",
    ):
        assert words in shown
    assert "rows read 12" in shown
    assert "a.jsonl:11 bad_row the row has no 'instruction'" in shown and "a.jsonl:12 control_token message 1 (user) contains" in shown


def test_counts_are_the_ledgers(recipe, write, tmp_path):
    rows = *(chat(f"Name number {n % 9}", "So.") for n in range(10)), {"output": "x"}, chat("Hi " * 100, "Ho", "Hm", "Ha")
    data = prepare(recipe(write("a.jsonl", *rows), holdout__examples="3", max_length=120))
    assert count(data) == data.write_ledger(tmp_path / "ledger.jsonl")
    assert count(data).outcomes["shortened"] == 1


def test_what_rows_contain_stays_text(recipe, write, model, tmp_path):
    file = write("<b>&amp;.jsonl", {"instruction": EVIL, "output": EVIL}, {"instruction": EVIL, EVIL: "x"}, *alpacas(2))
    data, printed = looked(recipe(file), html=str(tmp_path / "look.html"))
    plain, evil = (Page((tmp_path / "look.html").read_text(encoding="utf-8")), Page(page(data, count(data), [1, 2])))
    for shown in (plain, evil):
        assert not shown.elements.keys() & {"script", "img", "iframe", "link", "object"}
        assert not {name for name in shown.attributes if name.startswith("on")}
        assert "<script>alert(1)</script><img src=x onerror=alert(2)>" in shown.text.replace("\n", "")
        assert f"{file}:2" in shown.text
    assert "http" not in (tmp_path / "look.html").read_text(encoding="utf-8"), "the page stands alone"
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", printed), "what a terminal would obey"
    assert "[bold]x[/bold]" in printed.replace("│", "") and ":cat:" in printed.replace("│", "") and "\N{CAT}" not in printed


def test_brackets_stand_around_what_is_trained(recipe, write):
    data, printed = looked(recipe(write("a.jsonl", chat("Hi", "Ho", "Hm", "Ha hum\nhem"))), tree=False)
    decode = data.contract.tokenizer.decode
    trained = [part.replace("│", "").replace("↵\n", "\n") for part in re.findall(r"⟦(.*?)⟧", printed, flags=re.S)]
    wanted = [decode(tokens[n:]) for tokens, n in paths_of(data, 1)]
    assert trained == wanted and EOS in wanted[0]
    stop = data.contract.stop_ids[0]
    assert [f"stop token {EOS} ({stop})" in line for line in printed.splitlines() if line.startswith("example")] == [True, True]
    assert "example 1 " in printed and f"{paths_of(data, 1)[1][1]} tokens of context, {len(wanted[1])}"[:20] in printed


def test_ten_turns_and_more_have_room(recipe, write):
    texts = [str(k) for k in range(22)]
    _, printed = looked(recipe(write("a.jsonl", chat(*texts))), tree=False)
    assert re.search(r"^example 11 \d+ tokens of context", printed, flags=re.M)


def test_rows_are_numbered_over_all_sources(recipe, write):
    files = write("a.jsonl", *alpacas(2), {"output": "x"}), write("b.jsonl", *alpacas(3, 10))
    data = prepare(recipe(*files))
    assert [str(row_at(data, n).entry.origin) for n in range(1, 7)] == [
        *(f"{files[0]}:{n}" for n in (1, 2, 3)),
        *(f"{files[1]}:{n}" for n in (1, 2, 3)),
    ]
    assert trained_rows(data) == [1, 2, 4, 5, 6]
    _, printed = looked(recipe(*files), row=5)
    assert f"row       5 · {files[1]}:2 · kept\n" in printed and "Name│" in printed or "number" in printed
    _, printed = looked(recipe(*files), row=3, tree=False)
    assert f"row       3 · {files[0]}:3 · refused (bad_row: the row has no 'instruction' (it has: output))\n" in printed
    _, printed = looked(recipe(files[1], write("c.jsonl", *alpacas(3, 10), *alpacas(1, 20))), row=4, tree=False)
    assert "row       4 · " in printed and "c.jsonl:1 · duplicate\n" in printed
    for number in (0, -1, 7):
        with pytest.raises(UserError, match=f"--row {number}: the data has rows 1 to 6"):
            looked(recipe(*files), row=number)


def test_the_row_that_was_asked_for_leads_the_page(recipe, write, tmp_path):
    looked(recipe(write("a.jsonl", *alpacas(30))), row=7, html=str(tmp_path / "look.html"), num_rows=4)
    text = Page((tmp_path / "look.html").read_text(encoding="utf-8")).text
    assert re.findall(r"Row (\d+)", text) == ["7", "1", "15", "30"]


@given(st.integers(1, 400), st.integers(0, 50))
def test_rows_of_the_page_are_spread(total: int, most: int) -> None:
    numbers = list(range(1, total + 1))
    chosen = _spread(numbers, most)
    assert len(chosen) == len(set(chosen)) == min(most, total) and chosen == sorted(chosen) and set(chosen) <= set(numbers)
    if min(most, total) > 1:
        assert chosen[0] == 1 and chosen[-1] == total
        gaps = [b - a for a, b in zip(chosen, chosen[1:], strict=False)]
        assert max(gaps) - min(gaps) <= 1


def test_the_tree_holds_every_token_of_the_step_once(recipe, write):
    data = prepare(recipe(write("a.jsonl", *alpaca_rows()), train__batch=8))
    paths = {tuple(path.tokens.tolist()) for path in data.paths_at(0)}
    prefixes = {path[:n] for path in paths for n in range(1, len(path) + 1)}
    sizes = [int(re.match(r"[ │├└─]*([\d,]+) token", line)[1].replace(",", "")) for line in step_tree(data)]
    assert sum(sizes) == len(prefixes), "a tree of prefixes has a token for each distinct prefix"


def test_the_printed_tree_is_cut_and_the_pages_is_not(recipe, write, tmp_path):
    data, printed = looked(recipe(write("a.jsonl", *alpacas(60))), html=str(tmp_path / "look.html"))
    nodes = len(step_tree(data))
    assert nodes > 40 and f"... {nodes - 30} more (--html shows them)" in printed
    assert Page((tmp_path / "look.html").read_text(encoding="utf-8")).text.count(" supervised: ") == nodes


def test_what_was_decided_is_said(recipe, write, bare):
    rows = *alpacas(3), {"instruction": f"{EOS}", "output": "x"}, {"output": "x"}, {"output": "y"}
    _, printed = looked(recipe(write("a.jsonl", *rows), model=str(bare), template="chatml"), tree=False)
    assert "template chatml adds <|im_start|>, <|im_end|> to the tokenizer; the base model has never seen them" in printed
    assert re.search(r"^template  chatml · stops: <\|end\|> <\|im_end\|> · longest example 256 tokens$", printed, flags=re.M)
    assert "ledger    6 rows: 3 kept, 3 refused\n" in printed
    assert re.search(r"^ {10}2 bad_row: first at .*a\.jsonl:5: the row has no 'instruction'", printed, flags=re.M)
    assert re.search(r"^sharing   \d+\.\d\dx fewer tokens to compute than rows hold; \d+% of them trained", printed, flags=re.M)


def test_shortened_rows_are_named(recipe, write):
    _, printed = looked(recipe(write("a.jsonl", chat("Hi " * 60, "Ho", "Hm", "Ha")), max_length=190), tree=False)
    assert re.search(
        r"^ {10}1 shortened: first at .*a\.jsonl:1: examples longer than \d+ tokens: 1 lost leading turns", printed, flags=re.M
    )


def test_a_page_that_cannot_be_written_is_a_sentence(recipe, write, tmp_path):
    with pytest.raises(UserError, match="is a folder: give the name of a file"):
        looked(recipe(write("a.jsonl", *alpacas(3))), html=str(tmp_path))


def test_inspect_needs_no_torch(recipe, write, cache, model):
    """With a tokenizer that has been set up before, whoever looks does not even need torch to be installed."""
    file = write("a.jsonl", *alpacas(3))
    prepare(recipe(file))
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "peft", "accelerate"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from instil.cli import main
sys.argv = ["instil", "inspect", "--model", {str(model)!r}, "--data", {str(file)!r}, "--html", {str(file.with_suffix(".html"))!r}]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert "3 rows: 3 kept, 0 refused" in done.stdout and Path(file.with_suffix(".html")).exists()
