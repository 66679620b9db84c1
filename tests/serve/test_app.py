"""The API as clients see it, over a real socket."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from instil.core.values import Message
from instil.serve.app import make_app
from instil.serve.values import Served
from tests.fakes import CONTEXT
from tests.serve.served import listening, served

HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def models() -> Iterator[list[Served]]:
    made = [served("tiny"), served("tools", template=None, choice="chatml", seed=1), served("raw", template=None, seed=2)]
    yield made
    for one in made:
        one.engine.close()


@pytest.fixture(scope="module")
def client(models: list[Served]) -> Iterator[httpx2.Client]:
    with listening(make_app(models)) as url, httpx2.Client(base_url=url, timeout=30) as client:
        yield client


def chat(client: httpx2.Client, **body: Any) -> httpx2.Response:
    return client.post("/v1/chat/completions", json={"model": "tiny", "messages": HI, "max_tokens": 8, "temperature": 0, **body})


def complete(client: httpx2.Client, **body: Any) -> httpx2.Response:
    return client.post("/v1/completions", json={"model": "tiny", "prompt": "Hi", "max_tokens": 8, "temperature": 0, **body})


def events(response: httpx2.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def error(response: httpx2.Response) -> dict[str, Any]:
    found = response.json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return found


def test_what_is_sent_to_the_model_are_the_trained_tokens(client: httpx2.Client, models: list[Served]) -> None:
    """The chat's answer is that of the contract's own prompt, sent as token ids."""
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "the end"}]
    prompt = models[0].contract.prompt([Message(**turn) for turn in talk])
    said = chat(client, messages=talk).json()
    assert said["usage"]["prompt_tokens"] == len(prompt)
    assert said["choices"][0]["message"]["content"] == complete(client, prompt=prompt).json()["choices"][0]["text"]


def test_a_stream_says_what_the_whole_answer_says(client: httpx2.Client) -> None:
    whole = chat(client, logprobs=True, top_logprobs=2).json()
    parts = events(chat(client, stream=True, logprobs=True, top_logprobs=2, stream_options={"include_usage": True}))
    choices = [part["choices"][0] for part in parts if part["choices"]]
    assert choices[0]["delta"]["role"] == "assistant"
    assert "".join(c["delta"].get("content") or "" for c in choices) == whole["choices"][0]["message"]["content"]
    assert [c["finish_reason"] for c in choices if c["finish_reason"]] == [whole["choices"][0]["finish_reason"]]
    told = [entry["token"] for c in choices if c["logprobs"] for entry in c["logprobs"]["content"]]
    assert told == [entry["token"] for entry in whole["choices"][0]["logprobs"]["content"]]
    assert parts[-1]["choices"] == [] and parts[-1]["usage"] == whole["usage"]
    assert {part["id"] for part in parts} == {parts[0]["id"]}


def test_a_streamed_completion_says_what_the_whole_one_says(client: httpx2.Client) -> None:
    whole = complete(client, echo=True).json()["choices"][0]
    parts = events(complete(client, echo=True, stream=True))
    assert "".join(part["choices"][0]["text"] for part in parts) == whole["text"]
    assert whole["text"].startswith("<|begin|>Hi")


def test_choices_are_drawn_apart_and_a_seed_repeats_them(client: httpx2.Client) -> None:
    asked = {"n": 3, "seed": 5, "temperature": 1.2}
    first = [c["message"]["content"] for c in chat(client, **asked).json()["choices"]]
    assert len(set(first)) > 1
    assert [c["message"]["content"] for c in chat(client, **asked).json()["choices"]] == first
    parts = events(chat(client, stream=True, **asked))
    joined = ["".join(p["choices"][0]["delta"].get("content") or "" for p in parts if p["choices"][0]["index"] == i) for i in range(3)]
    assert joined == first


def test_prompts_in_a_list_are_answered_in_their_order(client: httpx2.Client) -> None:
    found = complete(client, prompt=["Hi", "the", "in"]).json()["choices"]
    assert [c["index"] for c in found] == [0, 1, 2]
    assert [c["text"] for c in found] == [complete(client, prompt=p).json()["choices"][0]["text"] for p in ("Hi", "the", "in")]


def test_echoed_log_probabilities_as_evaluation_harnesses_read_them(client: httpx2.Client, models: list[Served]) -> None:
    ids = models[0].tokenizer.encode("the end of the day")
    found = complete(client, prompt=ids, echo=True, logprobs=1, max_tokens=1).json()["choices"][0]["logprobs"]
    assert len(found["tokens"]) == len(ids) + 1 == len(found["token_logprobs"]) == len(found["top_logprobs"])
    assert found["token_logprobs"][0] is None and all(p <= 0 for p in found["token_logprobs"][1:])
    assert found["text_offset"][:2] == [0, len(found["tokens"][0])]
    greedy = complete(client, prompt=ids, logprobs=1).json()["choices"][0]["logprobs"]
    assert all(max(top, key=top.get) == token for token, top in zip(greedy["tokens"], greedy["top_logprobs"], strict=True))


def test_stop_strings_are_cut(client: httpx2.Client) -> None:
    text = complete(client, max_tokens=30).json()["choices"][0]["text"]
    stop = text[3:6]
    found = complete(client, max_tokens=30, stop=[stop]).json()["choices"][0]
    assert found["text"] == text[: text.find(stop)] and found["finish_reason"] == "stop"


def test_json_of_a_schema(client: httpx2.Client) -> None:
    pytest.importorskip("llguidance")
    schema = {
        "type": "object",
        "properties": {"name": {"enum": ["cat", "dog"]}, "legs": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["name", "legs"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "animal", "schema": schema}}
    for temperature in (0, 1.5):
        found = chat(client, response_format=form, max_tokens=60, temperature=temperature, seed=1).json()["choices"][0]
        made = json.loads(found["message"]["content"])
        assert found["finish_reason"] == "stop" and made["name"] in ("cat", "dog") and 0 <= made["legs"] <= 9
    bad = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "not": {"type": "null"}, "$ref": "#/nowhere"}}}
    assert error(chat(client, response_format=bad))["param"] == "response_format"


def test_without_the_grammar_library_json_is_refused(client: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "llguidance", None)
    response = chat(client, response_format={"type": "json_object"})
    assert response.status_code == 400 and "llguidance" in error(response)["message"]


BAD: list[tuple[dict[str, Any], int, str | None]] = [
    ({"model": "nope"}, 404, "model"),
    ({"messages": []}, 400, "messages"),
    ({"messages": [{"role": "user"}]}, 400, "messages"),
    ({"messages": [{"role": "king", "content": "x"}]}, 400, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, 400, "messages"),
    ({"messages": [{"role": "user", "content": "a <|end|> b"}]}, 400, "messages"),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, 400, "messages"),
    ({"messages": [*HI, {"role": "assistant", "content": "x"}]}, 400, "messages"),
    ({"messages": [{"role": "user", "content": "x" * 2 * CONTEXT}]}, 400, "messages"),
    ({"temperature": -1}, 400, "temperature"),
    ({"temperature": "hot"}, 400, "temperature"),
    ({"top_p": 0}, 400, "top_p"),
    ({"n": 1000}, 400, "n"),
    ({"max_tokens": 0}, 400, "max_tokens"),
    ({"logit_bias": {"5": 1}}, 400, None),
    ({"frequency_penalty": 0.5}, 400, None),
    ({"guided_json": {}}, 400, "guided_json"),
    ({"top_logprobs": 2}, 400, None),
    ({"stream_options": {}}, 400, None),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "tools"),
    ({"model": "tools", "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"}, 400, None),
    ({"model": "raw"}, 400, "model"),
    ({"response_format": {"type": "yaml"}}, 400, "response_format.type"),
]


@pytest.mark.parametrize(("body", "status", "param"), BAD, ids=[json.dumps(body)[:40] for body, _, _ in BAD])
def test_what_is_wrong_is_said_in_openais_shape(client: httpx2.Client, body: dict[str, Any], status: int, param: str | None) -> None:
    data = json.dumps({"model": "tiny", "messages": HI, "max_tokens": 4, **body})
    response = client.post("/v1/chat/completions", content=data.encode("utf-8", "surrogatepass"))
    assert response.status_code == status, response.text
    assert error(response)["param"] == param
    assert len(error(response)["message"]) > 10


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"[" * 100_000, b'{"model": NaN}'])
def test_bodies_that_are_no_request(client: httpx2.Client, body: bytes) -> None:
    response = client.post("/v1/chat/completions", content=body)
    assert response.status_code == 400 and error(response)["message"]


def test_half_a_character_cannot_be_continued(client: httpx2.Client) -> None:
    for prompt in ("\ud800", ["a", "\ud83d"]):
        response = client.post("/v1/completions", content=json.dumps({"model": "tiny", "prompt": prompt}).encode())
        assert response.status_code == 400 and error(response)["param"] == "prompt"


def test_bodies_that_are_too_long(client: httpx2.Client) -> None:
    assert client.post("/v1/completions", content=b" " * (9 * 2**20)).status_code == 413


def test_fields_without_effect_and_fields_that_are_null_are_taken(client: httpx2.Client) -> None:
    extra = {"user": "me", "metadata": {}, "store": False, "service_tier": "auto", "frequency_penalty": 0, "seed": None, "stop": None}
    assert chat(client, **extra, tools=None, parallel_tool_calls=True).status_code == 200


def test_other_paths_and_methods(client: httpx2.Client) -> None:
    assert error(client.get("/v1/nothing"))["message"] == "there is no /v1/nothing here"
    assert client.get("/v1/completions").status_code == 405
    assert [m["id"] for m in client.get("/v1/models").json()["data"]] == ["tiny", "tools", "raw"]
    assert client.get("/v1/models/raw").json()["max_model_len"] == CONTEXT
    assert client.get("/v1/models/none").status_code == 404
    assert client.get("/health").json() == {"status": "ok"}
    metrics = client.get("/metrics").text
    assert 'instil_requests_total{model="tiny"}' in metrics and 'instil_responses_total{status="404"}' in metrics


def test_a_key_and_a_foreign_host(models: list[Served]) -> None:
    with listening(make_app(models, key="s3cret")) as url, httpx2.Client(base_url=url) as client:
        assert error(client.get("/v1/models"))["code"] == "invalid_api_key"
        assert client.get("/v1/models", headers={"Authorization": "Bearer nö".encode()}).status_code == 401
        assert client.get("/v1/models", headers={"Authorization": "Bearer s3cret"}).status_code == 200
        assert client.get("/health").status_code == 200
        wrong = {"Authorization": "Bearer s3cret", "Host": "evil.example"}
        assert client.get("/v1/models", headers=wrong).status_code == 403


def test_the_page_of_another_site_computes_nothing_here(models: list[Served]) -> None:
    body = json.dumps({"model": "tiny", "prompt": "Hi", "max_tokens": 1}).encode()
    foreign = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
    with listening(make_app(models)) as url, httpx2.Client(base_url=url) as client:
        refused = client.post("/v1/completions", content=body, headers=foreign)
        assert refused.status_code == 403 and error(refused)["code"] == "foreign_origin"
        assert client.get("/v1/models", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert client.post("/v1/completions", content=body, headers={"Origin": url}).status_code == 200
    with listening(make_app(models, key="s3cret")) as url, httpx2.Client(base_url=url) as client:  # who has the key may
        assert client.get("/v1/models", headers={**foreign, "Authorization": "Bearer s3cret"}).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_its_slot(stream: bool) -> None:
    one = served(slots=1, seed=4)
    with listening(make_app([one])) as url:
        body = json.dumps({"model": "tiny", "prompt": "Hi", "max_tokens": 240, "temperature": 2.0, "seed": 8, "stream": stream}).encode()
        gone = 0.0
        for _ in range(20):  # an answer may be over before its client leaves
            host, port = url.removeprefix("http://").split(":")
            raw = socket.create_connection((host, int(port)))
            head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            raw.sendall(head.encode() + body)
            time.sleep(0.05)
            raw.close()
            end = time.monotonic() + 10
            while one.engine.gauges()["running"]:
                assert time.monotonic() < end
                time.sleep(0.01)
            gone = one.engine.gauges()["gone"]
            if gone:
                break
        assert gone
    one.engine.close()


def test_a_full_queue_is_429(models: list[Served]) -> None:
    one = served(slots=1, queue=0)
    with listening(make_app([one])) as url, httpx2.Client(base_url=url) as client:
        response = client.post("/v1/completions", json={"model": "tiny", "prompt": "Hi"})
        assert response.status_code == 429 and response.headers["retry-after"] == "2"
    one.engine.close()
