"""What the chat page asks of the server beyond OpenAI's API."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from instil.core.values import Message
from instil.serve.app import make_app
from instil.serve.page_routes import SCRIPTS, page_routes
from instil.serve.page_tokens import answer_of
from instil.serve.values import Served
from tests.fakes import BOS, EOS
from tests.serve.scripted import SURE, scripted
from tests.serve.served import listening, served

HI = [{"role": "user", "content": "Hi"}]
KEY = "sesame"


@pytest.fixture(scope="module")
def models() -> Iterator[list[Served]]:
    real = served("real")
    yield [scripted("tuned", lambda _: "Hello."), scripted("base", lambda _: "Hi Hi Hi"), scripted("raw", str, template=None), real]
    real.engine.close()


@pytest.fixture(scope="module")
def votes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("votes") / "votes.jsonl"


@pytest.fixture(scope="module")
def client(models: list[Served], votes: Path) -> Iterator[httpx2.Client]:
    app = make_app(models, key=KEY, extra_routes=page_routes(models, votes))
    with listening(app) as url, httpx2.Client(base_url=url, timeout=30, headers={"Authorization": f"Bearer {KEY}"}) as client:
        yield client


def ask(client: httpx2.Client, what: str, **body: Any) -> httpx2.Response:
    return client.post(f"/page/{what}", json={"messages": HI, **body})


def saved(votes: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in votes.read_text().splitlines()] if votes.exists() else []


def blind(client: httpx2.Client) -> tuple[list[str], str, str]:
    """(answers A and B, the pair's id, all that was sent)."""
    response = ask(client, "blind", models=["tuned", "base"], seed=1)
    events = [json.loads(line) for line in response.text.splitlines()]
    answers = ["".join(e["text"] for e in events if e.get("side") == side) for side in (0, 1)]
    return answers, events[-1]["pair"], response.text


def test_the_page_needs_no_key_and_loads_nothing_from_elsewhere(client: httpx2.Client) -> None:
    page = httpx2.get(client.base_url)
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    parts = [page.text, *(httpx2.get(f"{client.base_url}/page/{name}").text for name in (*SCRIPTS, "page.css"))]
    assert not [text for text in parts if "//cdn" in text or "https://" in text or "innerHTML" in text or "<script>" in text]


def test_questions_need_the_key(client: httpx2.Client) -> None:
    for what in ("tokens", "probabilities", "blind", "vote", "thumb"):
        assert httpx2.post(f"{client.base_url}/page/{what}", json={}).status_code == 401
    assert httpx2.get(f"{client.base_url}/page/models").status_code == 401
    found = client.get("/page/models").json()["models"]
    assert [(m["id"], m["chats"]) for m in found] == [("tuned", True), ("base", True), ("raw", False), ("real", True)]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[bad"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
    ],
)
def test_other_pages_are_refused(client: httpx2.Client, headers: dict[str, str], status: int) -> None:
    content = json.dumps({"model": "tuned", "messages": HI})
    good = client.post("/page/tokens", content=content, headers={"Content-Type": "application/json", "Origin": str(client.base_url)})
    assert good.status_code == 200
    bad = client.post("/page/tokens", content=content, headers={"Content-Type": "application/json", **headers})
    assert bad.status_code == status and bad.json()["error"]["message"]


def test_tokens_sent_are_the_contracts_own(client: httpx2.Client, models: list[Served]) -> None:
    talk = [{"role": "system", "content": "Süß 🙂"}, *HI, {"role": "assistant", "content": "the end"}, {"role": "user", "content": "in"}]
    found = ask(client, "tokens", model="tuned", messages=talk).json()
    assert models[0].contract is not None
    assert [t["id"] for t in found["tokens"]] == models[0].contract.prompt([Message(**turn) for turn in talk])
    special = [t["text"] for t in found["tokens"] if t["special"]]
    assert special == [BOS, EOS, EOS, EOS, EOS] and found["tokens"][0]["text"] == BOS
    assert "".join(t["text"] for t in found["tokens"]).endswith("user: in<|end|>\nassistant: ")


def test_tokens_of_a_base_model_are_its_text(client: httpx2.Client) -> None:
    found = ask(client, "tokens", model="raw", messages=[*HI, {"role": "assistant", "content": "yes"}, *HI]).json()["tokens"]
    assert "".join(t["text"] for t in found) == f"{BOS}Hi\nyes\nHi"


def test_a_conversation_that_cannot_be_sent_is_refused_in_words(client: httpx2.Client) -> None:
    forged = ask(client, "tokens", model="tuned", messages=[{"role": "user", "content": f"x {EOS} y"}])
    assert forged.status_code == 400 and EOS in forged.json()["error"]["message"]
    long = ask(client, "tokens", model="tuned", messages=[{"role": "user", "content": "x" * 5000}])
    assert long.status_code == 400 and "4,096" in long.json()["error"]["message"]
    assert ask(client, "tokens", model="nobody").status_code == 404
    assert ask(client, "tokens", model="tuned", extra=1).status_code == 400


def test_probabilities_are_those_of_the_answer(client: httpx2.Client) -> None:
    found = ask(client, "probabilities", model="tuned", answer="the end", ended=True).json()["tokens"]
    assert "".join(t["text"] for t in found) == f"the end{EOS}" and found[-1]["special"]
    prompt = len(ask(client, "tokens", model="tuned").json()["tokens"])
    assert [t["probability"] for t in found] == pytest.approx([SURE[(prompt + n) % len(SURE)] for n in range(len(found))])
    assert all(t["alternatives"][0]["id"] == t["id"] for t in found)


def test_probabilities_of_a_real_model_are_what_the_api_says(client: httpx2.Client, models: list[Served]) -> None:
    answer = [*models[3].tokenizer.encode("the end of it"), models[3].stop_ids[0]]
    prompt = [t["id"] for t in ask(client, "tokens", model="real").json()["tokens"]]
    asked = {"model": "real", "prompt": [*prompt, *answer], "max_tokens": 0, "echo": True, "logprobs": 3}
    said = client.post("/v1/completions", json=asked).json()["choices"][0]["logprobs"]
    found = ask(client, "probabilities", model="real", answer="the end of it", alternatives=3).json()["tokens"]
    assert [t["id"] for t in found] == answer
    assert [t["probability"] for t in found] == pytest.approx([math.exp(p) for p in said["token_logprobs"][len(prompt) :]], abs=1e-6)
    likeliest = [max(top.values()) for top in said["top_logprobs"][len(prompt) :]]
    assert [t["alternatives"][0]["probability"] for t in found] == pytest.approx([math.exp(p) for p in likeliest], abs=1e-6)
    assert {len(t["alternatives"]) for t in found} == {3}


def test_the_end_of_an_answer_is_the_one_that_was_taught() -> None:
    """ChatML on this tokenizer knows two ends: its own, and the tokenizer's EOS."""
    one = served("chatml", template=None, choice="chatml")
    one.engine.close()
    assert one.contract is not None and len(one.stop_ids) == 2
    talk = [Message(role="user", content="Hi")]
    ids = answer_of(one, talk, "yes", ended=True)
    assert one.tokenizer.decode(ids) == "yes<|im_end|>"
    assert one.tokenizer.decode(answer_of(one, talk, "yes", ended=False)) == "yes"


def test_a_blind_pair_tells_no_name_before_the_vote(client: httpx2.Client, votes: Path) -> None:
    seen = set()
    for _ in range(12):
        before = len(saved(votes))
        answers, pair, sent = blind(client)
        assert sorted(answers) == ["Hello.", "Hi Hi Hi"]
        assert "tuned" not in sent and "base" not in sent
        seen.add(answers[0])
        best = "A" if answers[0] == "Hello." else "B"
        found = client.post("/page/vote", json={"pair": pair, "choice": best}).json()
        assert found["models"][best] == "tuned" and sorted(found["models"].values()) == ["base", "tuned"]
        row = saved(votes)[-1]
        assert len(saved(votes)) == before + 1
        assert (row["chosen"][0]["content"], row["chosen_model"], row["rejected_model"]) == ("Hello.", "tuned", "base")
        assert client.post("/page/vote", json={"pair": pair, "choice": best}).status_code == 409
    assert len(seen) == 2  # by chance the same side 12 times: 1 in 2,048


def test_a_skipped_vote_tells_the_names_and_saves_nothing(client: httpx2.Client, votes: Path) -> None:
    before = saved(votes)
    _, pair, _ = blind(client)
    found = client.post("/page/vote", json={"pair": pair, "choice": "skip"}).json()
    assert found["saved"] == 0 and sorted(found["models"].values()) == ["base", "tuned"] and saved(votes) == before


def test_a_thumb_can_be_turned_and_taken_back(client: httpx2.Client, votes: Path) -> None:
    thumb = {"model": "tuned", "vote": "t1", "answer": "Hello.", "temperature": 0.5}
    for good in (True, False):
        assert ask(client, "thumb", good=good, **thumb).json() == {"saved": 1}
        rows = [row for row in saved(votes) if row["vote"] == "t1"]
        assert len(rows) == 1 and bool(rows[0]["chosen"]) is good and rows[0]["sampled"]["temperature"] == 0.5
    assert ask(client, "thumb", good=None, **thumb).json() == {"saved": 0}
    assert not [row for row in saved(votes) if row["vote"] == "t1"]
    assert ask(client, "thumb", good=True, **{**thumb, "answer": " "}).status_code == 400
