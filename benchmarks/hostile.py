"""Ten thousand malformed or hostile requests to a server of its own: `python benchmarks/hostile.py [--requests N]`.

Requests are drawn from the API's own schema (`tests/serve/hostile.py`), by eight clients at once. Counted: every status, requests without
an answer, the server's memory (resident) after a first tenth and at the end, and whether it answers rightly afterwards.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

import httpx2

sys.path.insert(0, str(Path(__file__).parents[1]))
from instil.core.run import hardware, versions  # noqa: E402
from tests.serve.hostile import request  # noqa: E402
from tests.serve.served import chat_folder  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "hostile.json"
LOG = Path(tempfile.gettempdir()) / "instil-hostile.log"
"""What the server says: nothing but its greeting, unless it makes a mistake."""
CLIENTS = 8
ASKED = {"model": "chat", "prompt": "The capital of France is", "max_tokens": 4, "temperature": 0}


def resident(process: subprocess.Popen[str]) -> float:
    """MiB."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def attack(url: str, count: int, seed: int, process: subprocess.Popen[str]) -> tuple[Counter[str], list[float]]:
    statuses: Counter[str] = Counter()
    memory = []
    left = iter(range(count))

    async def one_client(client: httpx2.AsyncClient) -> None:
        for number in left:
            method, path, body = request(Random(f"{seed}/{number}"), ("chat",))
            try:
                statuses[str((await client.request(method, path, content=body)).status_code)] += 1
            except httpx2.HTTPError as error:
                statuses[type(error).__name__] += 1
            if number % (count // 10) == 0:
                memory.append(round(resident(process), 1))

    async with httpx2.AsyncClient(base_url=url, timeout=60) as client:
        await asyncio.gather(*(one_client(client) for _ in range(CLIENTS)))
    memory.append(round(resident(process), 1))
    return statuses, memory


async def fill(url: str) -> None:
    """Let every slot grow to the whole context first: what memory grows by afterwards is a leak."""
    async with httpx2.AsyncClient(base_url=url, timeout=120) as client:
        long = [{**ASKED, "prompt": f"{number} " + "word " * 480} for number in range(64)]
        await asyncio.gather(*(client.post("/v1/completions", json=body) for body in long))


def start(folder: Path, port: int, *flags: str) -> subprocess.Popen[str]:
    """A server of the built-in base model with a chat template, ready."""
    command = [sys.executable, "-m", "instil", "serve", str(folder), "--port", str(port), *flags]
    with LOG.open("w") as log:
        process = subprocess.Popen(command, stderr=log, text=True)
    for _ in range(300):
        try:
            httpx2.get(f"http://127.0.0.1:{port}/health", timeout=1)
            return process
        except httpx2.HTTPError:
            time.sleep(0.2)
    raise SystemExit("the server did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=8765)
    knobs = parser.parse_args()
    work = Path(tempfile.mkdtemp())
    process = start(chat_folder(work / "chat"), knobs.port)
    try:
        url = f"http://127.0.0.1:{knobs.port}"
        before = httpx2.post(f"{url}/v1/completions", json=ASKED).json()["choices"][0]["text"]
        asyncio.run(fill(url))
        began = time.monotonic()
        statuses, memory = asyncio.run(attack(url, knobs.requests, knobs.seed, process))
        seconds = time.monotonic() - began
        after = httpx2.post(f"{url}/v1/completions", json=ASKED).json()["choices"][0]["text"]
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(work)
    facts = {
        "hardware": hardware(),
        "versions": versions(),
        "requests": knobs.requests,
        "clients": CLIENTS,
        "seconds": round(seconds, 1),
        "statuses": dict(sorted(statuses.items())),
        "resident_mib": memory,
        "same_answer_afterwards": before == after,
        "ended_by_signal": process.returncode,
    }
    RESULTS.write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps({k: v for k, v in facts.items() if k not in ("hardware", "versions")}, indent=1))


if __name__ == "__main__":
    main()
