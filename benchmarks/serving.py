"""64 people at once, at `instil serve`, `transformers serve` and llama.cpp's server: `python benchmarks/serving.py --run runs/demo`.

The same model behind each server, on this machine's cores, with 64 clients that stream, all at temperature 0:
- short: held-out questions to the run's model, which stops by itself after a few words;
- long: the same questions to the weights of its base, which does not stop: 64 tokens each, then the server cuts.
First every question alone, one after another; then all at once, three times. Counted: tokens a second, time to the first piece of text,
errors, and answers that differ from the one given alone. Servers run one after another, never two at a time. llama.cpp gets the model as
GGUF in F16, because that is what it is served in (`instil release --to gguf --quantize f16`); the others compute in float32.

Needs `pip install fastapi` for `transformers serve`, and the extra `gguf` for llama.cpp.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2

from instil.core.run import hardware, versions
from instil.pocket.tasks import rows

RESULTS = Path(__file__).parent / "results" / "serving.json"
LOGS = Path(tempfile.gettempdir()) / "instil-serving"
"""What the servers say goes to files: a pipe that nobody reads fills up and stops its server."""
CLIENTS = 64
LONGEST = 64
ROUNDS = 3
PORT = 8799

LLAMA = """
import sys, time
import xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.port, p.n_parallel, p.n_ctx = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = int(sys.argv[5])
p.use_jinja, p.cont_batching, p.hostnames = True, True, ["127.0.0.1"]
server = xllamacpp.Server(p)
while True:
    time.sleep(1)
"""


@dataclass(frozen=True)
class Answer:
    text: str
    tokens: int
    first: float
    """Seconds until the first piece of text (or the end, where there is none)."""


def servers(folder: Path, gguf: Path, cores: int) -> dict[str, tuple[str, list[str]]]:
    """Name -> what the server calls its model, and how it starts. Each has room for all clients."""
    transformers = [str(Path(sys.executable).parent / "transformers"), "serve", str(folder), "--host", "127.0.0.1", "--port", str(PORT)]
    transformers += ["--dtype", "float32"]
    return {
        "instil serve": (folder.name, [sys.executable, "-m", "instil", "serve", str(folder), "--port", str(PORT), "--no-base"]),
        "llama.cpp server": ("any", [sys.executable, "-c", LLAMA, *map(str, (gguf, PORT, CLIENTS, 512 * CLIENTS, cores))]),
        "transformers serve": (str(folder), transformers),
        "transformers serve, continuous batching": (str(folder), [*transformers, "--continuous-batching"]),
    }


def started(name: str, command: list[str], cores: int) -> subprocess.Popen[bytes]:
    """The server, answering."""
    (LOGS / "hub").mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(LOGS / "hub"), "OMP_NUM_THREADS": str(cores)}
    with (LOGS / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    for _ in range(300):
        time.sleep(0.2)
        try:
            if httpx2.get(f"http://127.0.0.1:{PORT}/health", timeout=5).status_code == 200:
                return process
        except httpx2.HTTPError:
            pass
        if process.poll() is not None:
            break
    process.kill()
    raise SystemExit(f"{name} did not start: see {LOGS / f'{name}.log'}")


async def ask(client: httpx2.AsyncClient, model: str, question: str) -> Answer:
    """One streamed answer. Raises on any error that the server reports."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": LONGEST,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began, first, text, tokens, ended = time.monotonic(), 0.0, "", 0, False
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.status_code != 200:
            raise RuntimeError((await response.aread()).decode()[:300])
        async for line in response.aiter_lines():
            if not line.startswith("data:") or line[5:].strip() == "[DONE]":
                ended = ended or "[DONE]" in line
                continue
            event = json.loads(line[5:])
            tokens = (event.get("usage") or {}).get("completion_tokens") or tokens
            for choice in event.get("choices", ()):
                ended = ended or bool(choice.get("finish_reason"))
                piece = choice["delta"].get("content") or ""
                text, first = text + piece, first or (time.monotonic() - began if piece else 0.0)
    if not ended:
        raise RuntimeError("the stream broke off")
    return Answer(text, tokens, first or time.monotonic() - began)


async def all_at_once(client: httpx2.AsyncClient, model: str, questions: list[str]) -> tuple[float, list[Answer | BaseException]]:
    began = time.monotonic()
    answers = await asyncio.gather(*(ask(client, model, question) for question in questions), return_exceptions=True)
    return time.monotonic() - began, answers


async def load(model: str, questions: list[str]) -> dict[str, Any]:
    """Figures of the server that listens now."""
    limits = httpx2.Limits(max_connections=CLIENTS, max_keepalive_connections=0)  # llama.cpp's server closes what it has answered on
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{PORT}", timeout=240, limits=limits) as client:
        await ask(client, model, "What is the capital of France?")
        began = time.monotonic()
        alone = [await ask(client, model, question) for question in questions]
        seconds = time.monotonic() - began
        rounds = [await all_at_once(client, model, questions) for _ in range(ROUNDS)]
    tokens = sum(answer.tokens for answer in alone)
    right = [(took, [a for a in answers if isinstance(a, Answer)]) for took, answers in rounds]
    errors = [str(a) for _, answers in rounds for a in answers if not isinstance(a, Answer)]
    differ = sum(isinstance(a, Answer) and a.text != one.text for _, answers in rounds for a, one in zip(answers, alone, strict=True))
    firsts = sorted(a.first for _, answers in right for a in answers)
    return {
        "tokens": tokens,
        "alone": {"seconds": round(seconds, 2), "tokens_per_s": round(tokens / seconds), "requests_per_s": round(len(alone) / seconds, 1)},
        "at_once": {
            "seconds": [round(took, 2) for took, _ in right],
            "tokens_per_s": round(statistics.median(sum(a.tokens for a in found) / took for took, found in right)),
            "requests_per_s": round(statistics.median(len(found) / took for took, found in right), 1),
            "first_text_s": {"median": round(statistics.median(firsts), 3), "worst": round(firsts[-1], 3)} if firsts else None,
        },
        "errors": len(errors),
        "first_error": errors[0] if errors else None,
        "differ_from_alone": differ,
        "answers": [answer.text for answer in alone],
    }


def with_base_weights(model: Path, folder: Path) -> Path:
    """The run's model folder with the weights of its base: the same template and tokenizer, and answers that do not stop."""
    shutil.copytree(model, folder)
    base = Path(__file__).parents[1] / "src" / "instil" / "pocket" / "model" / "model.safetensors"
    shutil.copy(base, folder / "model.safetensors")
    return folder


def gguf_of(folder: Path, out: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "instil", "release", str(folder), "--to", "gguf", "--quantize", "f16", "--out", str(out)], check=True
    )
    return next(out.rglob("*.gguf"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="a run of `instil demo`")
    parser.add_argument("--only", help="server whose name begins so")
    knobs = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    questions = [row["messages"][0]["content"] for row in rows("heldout", 400) if len(row["messages"]) == 2 and "tools" not in row][
        :CLIENTS
    ]
    facts: dict[str, Any] = {"hardware": hardware(), "versions": {**versions(), "xllamacpp": version("xllamacpp")}, "loads": {}}
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        short = shutil.copytree(knobs.run / "model", work / "short")
        long = with_base_weights(knobs.run / "model", work / "long")
        for name, folder in (("short", short), ("long", long)):
            results = facts["loads"][name] = {}
            for server, (model, command) in servers(folder, gguf_of(folder, work / f"{name}-gguf"), cores).items():
                if knobs.only and not server.startswith(knobs.only):
                    continue
                process = started(server, command, cores)
                try:
                    results[server] = asyncio.run(load(model, questions))
                except (httpx2.HTTPError, RuntimeError) as error:
                    results[server] = {"failed": f"{type(error).__name__}: {error}"[:300]}
                finally:
                    process.terminate()
                    process.wait(30)
                print(name, server, {k: v for k, v in results[server].items() if k != "answers"}, flush=True)
            ours = results.get("instil serve", {}).get("answers", [])
            for found in results.values():
                if answers := found.pop("answers", None):
                    found["same_text_as_instil"] = sum(a == b for a, b in zip(answers, ours, strict=False))
    if not knobs.only:
        RESULTS.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
