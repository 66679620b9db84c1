"""`instil serve`: models behind OpenAI's API, with the very prompts that were trained."""

import json
import os
import shutil
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from instil.core.errors import UserError
from instil.serve.app import make_app
from instil.serve.engine import SlotEngine
from instil.serve.page_routes import page_routes
from instil.serve.values import Served
from instil.stages.talk import Assistant, load, load_base_alone, model_folder
from instil.train.memory import device_of_run, free_memory

Say = Callable[[str], None]
LOOPBACK = ("127.0.0.1", "localhost", "::1")
LONGEST = 32_768
"""Context where neither the model nor `--context` sets a lower one: what one conversation may take of memory."""

MEMORY = 0.5
"""The share of the free memory that conversations may take: passes need some, and so do other programs."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """Where and how: `slots` answers at a time, `queue` requests may wait, `timeout` seconds for each, `grace` seconds at the end. `votes`:
    where the page keeps them; None: in the run's folder, for other models in this one."""

    host: str = "127.0.0.1"
    port: int = 8000
    key: str | None = None
    slots: int = 64
    context: int | None = None
    queue: int = 256
    timeout: float = 600.0
    grace: float = 10.0
    base: bool = True
    votes: Path | None = None
    trust_remote_code: bool = False


def serve(path: str, how: Serving, say: Say) -> None:
    """Serve `path` (a run, a folder, a hub id) until interrupted. Raises UserError: no model, no key for a host that others reach, a port
    that is taken."""
    check_host(how)
    listening = listen(how)
    try:
        # In a thread that ends: the team of OpenMP threads that this one would keep makes the engine's share its cores, idle as it is, and
        # the engine is then slower by a third.
        with ThreadPoolExecutor(1) as loading:
            models = loading.submit(load_models, path, how).result()
        engines = [served.engine for served in models if isinstance(served.engine, SlotEngine)]

        def close() -> None:
            for engine in engines:
                engine.close(how.grace)

        page = page_routes(models, how.votes or votes_file(path))
        app = make_app(models, key=how.key, loopback=how.host in LOOPBACK, extra_routes=page, closing=close)
        for line in greeting(models, how, listening.getsockname()[1]):
            say(line)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=int(how.grace) + 1, lifespan="on")
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        listening.close()


def check_host(how: Serving) -> None:
    """Raises UserError where others could reach the server without a key."""
    if how.host not in LOOPBACK and not how.key:
        raise UserError(f"--host {how.host} lets others reach this server: give a key with --api-key or INSTIL_API_KEY")


def listen(how: Serving) -> socket.socket:
    """A listening socket, taken before anything is loaded. Raises UserError where the address cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in how.host else socket.AF_INET
        # Named as TCP, or asyncio leaves Nagle's algorithm on, and every answer waits 40 ms for the client's delayed ACK.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((how.host, how.port))
        listening.listen(1024)
    except (OSError, OverflowError) as error:
        raise UserError(f"port {how.port} on {how.host} cannot be used ({error}): give another with --port, or 0 for any") from None
    return listening


def load_models(path: str, how: Serving) -> list[Served]:
    """The model and, for a run, the base that it was tuned from as NAME-base."""
    assistant = load(path, trust_remote_code=how.trust_remote_code)
    name = name_of(path)
    loaded = {name: assistant}
    if how.base and (base := load_base_alone(path, trust_remote_code=how.trust_remote_code)) is not None:
        loaded[f"{name}-base"] = base
    free = free_memory(device_of_run())
    memory = None if free is None else MEMORY * free / len(loaded)
    return [served_by(id, one, how, memory) for id, one in loaded.items()]


def name_of(path: str) -> str:
    """What clients call the model: a folder's name, or the hub id."""
    folder = Path(path)
    if not folder.is_dir():
        return path
    folder = folder.resolve()
    return folder.parent.name if folder.name == "model" else folder.name


def votes_file(path: str) -> Path:
    """A run's folder holds what belongs to the run; a model's own folder is left as it is."""
    folder = Path(path)
    return folder / "votes.jsonl" if (folder / "recipe.yaml").exists() else Path("votes.jsonl")


def served_by(name: str, assistant: Assistant, how: Serving, memory: float | None = None) -> Served:
    """An engine around a loaded model, with `memory` bytes for keys and values. Raises UserError for a context that the model or the memory
    does not have."""
    most = assistant.context or LONGEST
    if how.context is not None and how.context > most:
        raise UserError(f"--context {how.context:,}: {name} takes {most:,} tokens at most")
    context = how.context or min(most, LONGEST)
    stops = assistant.contract.stop_ids if assistant.contract else assistant.tokenizer.eos_ids
    engine = SlotEngine(
        assistant.model,
        assistant.tokenizer,
        stops,
        slots=how.slots,
        context=context,
        queue=how.queue,
        timeout=how.timeout,
        memory=memory,
    )
    return Served(name, assistant.contract, assistant.tokenizer, context, engine)


def greeting(models: Sequence[Served], how: Serving, port: int) -> list[str]:
    """What a person wants to know at the start, with a line to try."""
    host = f"[{how.host}]" if ":" in how.host else how.host
    url = f"http://{host}:{port}"
    first = models[0]
    form = f"template {first.contract.name}" if first.contract else "no chat template: /v1/completions only"
    key = " -H 'Authorization: Bearer KEY'" if how.key else ""
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello!"}]} if first.contract else {"prompt": "Once"}
    what, body = "chat/completions" if first.contract else "completions", json.dumps({"model": first.id, **asked})
    return [
        f"models    {', '.join(model.id for model in models)} · {form} · {first.context:,} tokens · {how.slots} answers at a time",
        f"page      {url}",
        f"API       {url}/v1",
        f"try       curl {url}/v1/{what} -H 'Content-Type: application/json'{key} -d '{body}'",
        "stop      Ctrl-C",
    ]


def hand_to_vllm(path: str, how: Serving) -> None:
    """Become `vllm serve` for the same folder, template and key. Raises UserError: vLLM is not installed, the model is an adapter."""
    program = shutil.which("vllm")
    if program is None:
        raise UserError("--engine vllm needs vLLM, which is not installed here: pip install vllm on a machine with a GPU, or leave it out")
    check_host(how)
    folder = model_folder(Path(path))
    if folder is not None and (folder / "adapter_config.json").exists():
        raise UserError(f"vLLM takes whole models here: `instil release {path} --to merged`, then serve that folder with --engine vllm")
    model = str(folder or path)
    command = [program, "serve", model, "--host", how.host, "--port", str(how.port), "--served-model-name", name_of(path)]
    if folder is not None and (folder / "chat_template.jinja").exists():
        command += ["--chat-template", str(folder / "chat_template.jinja")]
    if how.context is not None:
        command += ["--max-model-len", str(how.context)]
    if how.key:
        os.environ["VLLM_API_KEY"] = how.key  # not on the command line, where every user of the machine reads it
    os.execv(program, command)
