"""Programs that people use, against the server: each is tried where it is installed. CI has openai and lm_eval; see docs/serve.md."""

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from instil.pocket.world import world
from instil.serve.app import make_app
from instil.stages.serve import Serving, served_by
from instil.stages.talk import Assistant, Sampling, load
from tests.serve.served import chat_folder, listening

THEIR_OWN = pytest.mark.filterwarnings("default")
"""What a client warns of in its own code is no error of ours."""
ASKED = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_folder(tmp_path_factory.mktemp("clients") / "model")


@pytest.fixture(scope="module")
def assistant(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Assistant]:
    with pytest.MonkeyPatch.context() as monkey:
        monkey.setenv("INSTIL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield load(folder, sampling=Sampling(max_tokens=12))


@pytest.fixture(scope="module")
def url(assistant: Assistant, expected: str) -> Iterator[str]:
    """`expected` comes first: from now on the model is the engine's."""
    served = served_by("pocket", assistant, Serving())
    with listening(make_app([served])) as url:
        yield url
    served.engine.close()


@pytest.fixture(scope="module")
def expected(assistant: Assistant) -> str:
    return assistant.chat(ASKED).content


def test_openai(url: str, expected: str) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    asked = {"model": "pocket", "messages": ASKED, "temperature": 0, "max_tokens": 12}
    assert client.chat.completions.create(**asked).choices[0].message.content == expected
    streamed = client.chat.completions.create(**asked, stream=True)
    assert "".join(part.choices[0].delta.content or "" for part in streamed) == expected
    assert [model.id for model in client.models.list()] == ["pocket"]
    with pytest.raises(openai.NotFoundError, match="is not served here"):
        client.chat.completions.create(**{**asked, "model": "none"})
    with pytest.raises(openai.BadRequestError, match="logit_bias"):
        client.chat.completions.create(**asked, logit_bias={"1": 5})


def test_lm_eval_scores_as_its_own_loader_does(url: str, folder: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("lm_eval") is None:
        pytest.skip("lm_eval is not installed")
    write_tasks(tmp_path)
    command = [sys.executable, "-W", "ignore", "-m", "tests.serve.harness", str(folder), url, "pocket", str(tmp_path)]
    environment = {**os.environ, "OPENAI_API_KEY": "none", "HF_HOME": str(tmp_path / "hf"), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["local_choice"]["hf"]) == 30 and len(found["local_words"]["hf"]) == 8
    for task, ways in found.items():
        assert ways["served"] == ways["hf"], task
    assert sum(found["local_choice"]["hf"]) / 30 > 0.5  # the model knows most of it: a score of chance would hide much


def test_langchain(url: str, expected: str) -> None:
    langchain = pytest.importorskip("langchain_openai")
    model = langchain.ChatOpenAI(base_url=f"{url}/v1", api_key="none", model="pocket", temperature=0, max_tokens=12, max_retries=0)
    assert model.invoke(ASKED[0]["content"]).content == expected
    assert "".join(part.content for part in model.stream(ASKED[0]["content"])) == expected


@THEIR_OWN
def test_llm(url: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    pytest.importorskip("llm")
    from llm.default_plugins.openai_models import Chat  # what an entry of extra-openai-models.yaml becomes

    model = Chat("served", model_name="pocket", api_base=f"{url}/v1")
    for stream in (False, True):
        assert model.prompt(ASKED[0]["content"], key="none", temperature=0, max_tokens=12, stream=stream).text() == expected


@THEIR_OWN
def test_litellm(url: str, expected: str) -> None:
    litellm = pytest.importorskip("litellm")
    asked = {"model": "openai/pocket", "api_base": f"{url}/v1", "api_key": "none", "messages": ASKED, "temperature": 0, "max_tokens": 12}
    assert litellm.completion(**asked).choices[0].message.content == expected
    streamed = litellm.completion(**asked, stream=True)
    assert "".join(part.choices[0].delta.content or "" for part in streamed) == expected


@THEIR_OWN
def test_inspect_ai(url: str, expected: str) -> None:
    inspect = pytest.importorskip("inspect_ai.model")
    config = inspect.GenerateConfig(temperature=0, max_tokens=12)
    model = inspect.get_model("openai-api/served/pocket", base_url=f"{url}/v1", api_key="none", config=config)
    found = asyncio.run(model.generate(ASKED[0]["content"]))
    assert (found.completion, found.stop_reason) in ((expected, "stop"), (expected, "max_tokens"))


def write_tasks(folder: Path) -> None:
    """One task of four choices, one of generation, over files."""
    random = Random(0)
    countries = random.sample(world().countries, 30)
    choices = []
    for country in countries:
        wrong = [other.capital for other in random.sample(world().countries, 8) if other.capital != country.capital][:3]
        options = random.sample([country.capital, *wrong], 4)
        choices.append({"question": f"The capital of {country.name} is", "choices": options, "gold": options.index(country.capital)})
    words = [{"question": f"What is the capital of {country.name}?", "answer": country.capital} for country in countries[:8]]
    for name, rows in (("choice", choices), ("words", words)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    common = {"dataset_path": "json", "test_split": "test", "num_fewshot": 0}
    tasks = {
        "choice": {
            "output_type": "multiple_choice",
            "doc_to_text": "{{question}}",
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "{{gold}}",
            "metric_list": [{"metric": "acc"}],
        },
        "words": {
            "output_type": "generate_until",
            "doc_to_text": "{{question}}",
            "doc_to_target": "{{answer}}",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 12, "do_sample": False, "temperature": 0},
            "metric_list": [{"metric": "exact_match"}],
        },
    }
    for name, task in tasks.items():
        files = {"data_files": {"test": str(folder / f"{name}.jsonl")}}
        record = {"task": f"local_{name}", **common, "dataset_kwargs": files, **task}
        (folder / f"{name}.yaml").write_text(json.dumps(record), encoding="utf-8")
