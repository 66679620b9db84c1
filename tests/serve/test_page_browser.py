"""The chat page in a real browser, against the real API. Skipped where there is no Chromium."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from instil.serve.app import make_app
from instil.serve.page_routes import page_routes
from instil.serve.values import Served
from tests.browser import Tab, browser
from tests.serve.scripted import Scripted, scripted
from tests.serve.served import listening

MARKUP = "<img src=x onerror=\"document.title='stolen'\"><script>document.title='stolen'</script> \u202e <b>bold</b>"
CODE = "Look:\n\n```python\nif a < b:\n    print('<i>')\n```\nDone."


def tuned(prompt: str) -> str:
    asked = prompt.rsplit("user: ", 1)[-1]
    if "count" in asked:
        return " ".join(map(str, range(3000)))
    return MARKUP if "markup" in asked else CODE if "code" in asked else f"The answer number {prompt.count('user: ')}."


@pytest.fixture(scope="module")
def models() -> list[Served]:
    return [
        scripted("tuned", tuned, pause=0.002),
        scripted("base", lambda prompt: f"{prompt.rsplit('user: ', 1)[-1].partition('<')[0]} and so on", pause=0.001),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture
def address(models: list[Served], folder: Path) -> Iterator[str]:
    """A port of its own for each test, so that the browser has kept nothing for it."""
    with listening(make_app(models, extra_routes=page_routes(models, folder / "votes.jsonl"))) as url:
        yield url


@pytest.fixture(scope="module")
def browsing(folder: Path) -> Iterator[Tab]:
    with browser(folder) as tab:
        yield tab


@pytest.fixture
def tab(browsing: Tab, address: str) -> Iterator[Tab]:
    """The page as a newcomer sees it."""
    browsing.errors.clear()
    browsing.requests.clear()
    browsing.look(1280, 900)
    fresh(browsing, address)
    yield browsing
    assert not browsing.errors
    assert browsing.run("document.title") == "instil chat"
    assert {url for url in browsing.requests if not url.startswith((address, "about:", "blob:"))} == set()


def fresh(tab: Tab, address: str) -> None:
    tab.open("about:blank")  # so that what the page keeps when it is left is kept before the next one begins
    tab.open(address)
    tab.until("document.getElementById('first').options.length === 2")


def ask(tab: Tab, text: str) -> None:
    tab.run("document.getElementById('question').focus()")
    tab.type(text)
    tab.press("Enter")


def answered(tab: Tab, count: int = 1) -> None:
    tab.until(f"document.querySelectorAll('.turn').length === {count} && document.getElementById('stop').hidden")


def talk(tab: Tab) -> str:
    return str(tab.run("document.getElementById('talk').innerText"))


def click(tab: Tab, label: str) -> None:
    """The last button of that name."""
    named = f"b => (b.getAttribute('aria-label') || b.textContent) === {json.dumps(label)}"
    tab.run(f"[...document.querySelectorAll('button')].filter({named}).at(-1).click()")


def choose(tab: Tab, field: str, value: str) -> None:
    told = "f.dispatchEvent(new Event('input')); f.dispatchEvent(new Event('change'))"
    tab.run(f"(f => {{ f.value = {json.dumps(value)}; {told} }})(document.getElementById('{field}'))")


def votes(folder: Path) -> list[dict[str, Any]]:
    path = folder / "votes.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def engine(models: list[Served], place: int) -> Scripted:
    found = models[place].engine
    assert isinstance(found, Scripted)
    return found


def test_a_chat_is_kept_and_goes_on_after_a_reload(tab: Tab, address: str, models: list[Served]) -> None:
    choose(tab, "system", "Be brief.")
    choose(tab, "temperature", "0.5")
    choose(tab, "max_tokens", "99")
    ask(tab, "One?")
    answered(tab)
    assert "The answer number 1." in talk(tab)
    fresh(tab, address)
    assert "One?" in talk(tab) and "The answer number 1." in talk(tab)
    ask(tab, "Two?")
    answered(tab, 2)
    sent = engine(models, 0).asked[-1]
    said = models[0].tokenizer.decode(list(sent.prompt))
    assert said.endswith(
        "system: Be brief.<|end|>\nuser: One?<|end|>\nassistant: The answer number 1.<|end|>\nuser: Two?<|end|>\nassistant: "
    )
    assert (sent.temperature, sent.max_tokens, sent.seed) == (0.5, 99, 0)
    click(tab, "New conversation")
    assert "A new conversation" in talk(tab)
    click(tab, "One?")
    assert "The answer number 2." in talk(tab)
    click(tab, "Delete")
    click(tab, "Delete for good?")
    assert tab.run("Object.keys(localStorage).filter(k => k.startsWith('instil.talk.') && localStorage[k].includes('One?')).length") == 0


def test_stop_frees_the_model_and_keeps_what_came(tab: Tab, models: list[Served]) -> None:
    left = engine(models, 0).left
    ask(tab, "count")
    tab.until("!!document.querySelector('.text').textContent.includes('12 13')")
    tab.press("Escape")
    answered(tab)
    assert "0 1 2 3" in talk(tab) and "Stopped." in talk(tab) and " 2999" not in talk(tab)
    for _ in range(100):
        if engine(models, 0).left > left:
            break
        tab.run("new Promise(done => setTimeout(done, 20))")
    assert engine(models, 0).left == left + 1


def test_what_a_model_writes_stays_text(tab: Tab) -> None:
    ask(tab, "markup " + MARKUP)
    answered(tab)
    assert talk(tab).count("<img src=x onerror=") == 2 and "‹U+202E›" in talk(tab)
    assert tab.run("document.querySelectorAll('#talk img, #talk script, #talk b').length") == 0
    ask(tab, "code")
    answered(tab, 2)
    assert tab.run("document.querySelector('#talk pre').textContent") == "if a < b:\n    print('<i>')"
    assert "```" not in talk(tab)


def test_side_by_side_each_model_keeps_to_its_own_answers(tab: Tab, models: list[Served]) -> None:
    choose(tab, "mode", "both")
    ask(tab, "One?")
    answered(tab)
    ask(tab, "Two?")
    answered(tab, 2)
    assert tab.run("[...document.querySelectorAll('.turn:last-child h3')].map(h => h.innerText)") == ["tuned", "base"]
    prompts = [models[place].tokenizer.decode(list(engine(models, place).asked[-1].prompt)) for place in (0, 1)]
    assert "The answer number 1." in prompts[0] and "and so on" not in prompts[0]
    assert "and so on" in prompts[1] and "The answer number" not in prompts[1]


def test_a_blind_vote_is_saved_and_then_tells_the_names(tab: Tab, folder: Path) -> None:
    before = len(votes(folder))
    choose(tab, "mode", "blind")
    ask(tab, "Which?")
    answered(tab)
    tab.until("!!document.querySelector('.vote')")
    kept = tab.run("Object.values(localStorage).join()")
    assert "tuned" not in talk(tab) and '"model":"' not in kept
    ask(tab, "Not yet")
    assert "Vote on the two answers first" in tab.run("document.getElementById('said').innerText")
    assert tab.run("document.getElementById('question').value") == "Not yet"  # nothing typed is lost
    texts = tab.run("[...document.querySelectorAll('.text')].map(t => t.innerText)")
    best = "AB"[texts.index("The answer number 1.")]
    click(tab, f"{best} is better")
    tab.until("!!document.querySelector('.picked')")
    assert f"{best} is tuned" in talk(tab)
    row = votes(folder)[-1]
    assert len(votes(folder)) == before + 1 and row["chosen_model"] == "tuned" and row["rejected_model"] == "base"
    assert row["chosen"][0]["content"] == "The answer number 1."


def test_thumbs_edit_and_regenerate(tab: Tab, folder: Path, models: list[Served]) -> None:
    ask(tab, "One?")
    answered(tab)
    click(tab, "Bad answer")
    tab.until("!!document.querySelector('[aria-label=\"Bad answer\"][aria-pressed=true]')")
    assert votes(folder)[-1]["rejected"][0]["content"] == "The answer number 1."
    click(tab, "Regenerate")
    answered(tab)
    assert engine(models, 0).asked[-1].seed == 1
    ask(tab, "Two?")
    answered(tab, 2)
    tab.run("document.querySelector('[aria-label=\"Edit your question and ask again\"]').click()")
    tab.type("Three: ")
    tab.press("Enter", control=True)
    answered(tab, 1)
    assert "Two?" not in talk(tab) and "Three: " in talk(tab)
    assert tab.run("document.querySelectorAll('#list li').length") == 2  # what the edit cut off is kept beside it


def test_tokens_and_probabilities_on_demand(tab: Tab) -> None:
    ask(tab, "One?")
    answered(tab)
    click(tab, "Tokens sent")
    tab.until("!!document.querySelector('.panel .token')")
    assert tab.run("[...document.querySelectorAll('.token.special')].map(t => t.textContent)") == ["<|begin|>", "<|end|>"]
    click(tab, "Tokens sent")
    click(tab, "Probabilities")
    tab.until("!!document.querySelector('button.token.unlikely')")
    tab.run("document.querySelector('button.token').click()")
    assert "in the answer" in tab.run("document.querySelector('.alternatives').innerText")


def test_a_phone_a_keyboard_and_both_schemes(tab: Tab) -> None:
    tab.look(360, 720, dark=True)
    assert tab.overflow() == 0
    choose(tab, "mode", "both")
    tab.run("document.getElementById('question').value = 'One code?'")
    click(tab, "Send")
    answered(tab)
    assert tab.overflow() == 0
    click(tab, "Menu")
    assert tab.run("document.getElementById('menu').getAttribute('aria-expanded')") == "true" and tab.overflow() == 0
    click(tab, "Menu")
    dark = tab.run("getComputedStyle(document.body).backgroundColor")
    click(tab, "Use light colours")
    light = tab.run("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, dark[4:-1].split(","))) < 150 and sum(map(int, light[4:-1].split(","))) > 700
    named = "e => e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim()"
    assert tab.run(f"[...document.querySelectorAll('button, input, select, textarea')].filter(e => !({named})(e)).map(e => e.id)") == []


FAINT = """(() => {
  const pen = Object.assign(document.createElement("canvas"), {width: 1, height: 1}).getContext("2d", {willReadFrequently: true});
  const paint = (colour) => { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); };
  const light = () => [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const told = [...document.body.querySelectorAll("*")].filter((e) => e.checkVisibility() && !e.disabled && !e.closest(".hidden, .skip")
    && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()));
  return told.map((e) => {
    const chain = [];
    for (let up = e; up; up = up.parentElement) chain.unshift(getComputedStyle(up).backgroundColor);
    paint("#fff");
    chain.forEach(paint);
    const ground = light();
    paint(getComputedStyle(e).color);
    const pair = [ground, light()].sort((a, b) => b - a);
    return [(pair[0] + 0.05) / (pair[1] + 0.05), e.className || e.tagName, e.textContent.slice(0, 30)];
  }).filter(([ratio]) => ratio < 4.5);
})()"""
"""Texts whose contrast is below WCAG's AA (4.5), as (ratio, what, text)."""


def test_every_text_can_be_read(tab: Tab) -> None:
    ask(tab, "code")
    answered(tab)
    for name in ("Tokens sent", "Probabilities", "Edit your question and ask again"):
        click(tab, name)
    tab.until("!!document.querySelector('button.token.unlikely') && document.querySelectorAll('.panel').length === 2")
    tab.run("document.querySelector('button.token').click()")
    assert tab.run(FAINT) == []
    click(tab, "Use dark colours")
    assert tab.run(FAINT) == []
    tab.run("document.querySelector('h1').style.color = 'grey'; document.querySelector('h1').style.background = 'dimgrey'")
    assert [what for _, what, _ in tab.run(FAINT)] == ["H1"]  # it would have been seen


def test_a_pair_that_was_stopped_has_no_vote(tab: Tab, models: list[Served]) -> None:
    left = engine(models, 0).left
    choose(tab, "mode", "blind")
    ask(tab, "count")
    tab.until("[...document.querySelectorAll('.text')].some(t => t.textContent.includes('12 13'))")
    click(tab, "Stop")
    answered(tab)
    assert "Stopped." in talk(tab) and not tab.run("!!document.querySelector('.vote')") and "tuned" not in talk(tab)
    tab.run("new Promise(done => setTimeout(done, 100))")
    assert engine(models, 0).left == left + 1
    ask(tab, "Which?")
    answered(tab, 2)
    tab.until("!!document.querySelector('.vote')")


def test_the_key_is_asked_for_and_then_used(browsing: Tab, models: list[Served], folder: Path) -> None:
    browsing.errors.clear()
    with listening(make_app(models, key="sesame", extra_routes=page_routes(models, folder / "votes.jsonl"))) as url:
        browsing.open(url)
        browsing.until("document.getElementById('key-dialog').open")
        browsing.type("sesame")
        browsing.press("Enter")
        browsing.until("document.getElementById('first').options.length === 2")
        ask(browsing, "One?")
        answered(browsing)
        assert "The answer number 1." in talk(browsing)
    ask(browsing, "Anybody there?")
    answered(browsing, 2)
    assert "still running?" in talk(browsing) and "Anybody there?" in talk(browsing)
