"""A tiny model behind an engine, and a server on a port of its own."""

import asyncio
import json
import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from instil.pocket import MODEL
from instil.serve.engine import SlotEngine
from instil.serve.values import Piece, Served, Wanted
from instil.template.builtin import BUILTIN
from instil.template.contract import make_contract
from instil.template.tokenizer import ChatTokenizer
from tests.fakes import BOS, CONTEXT, EOS, OWN_TEMPLATE, byte_level_tokenizer, small_llama


def chat_folder(folder: Path) -> Path:
    """The built-in base model with a chat template and the end of turn that it writes, in a new folder."""
    shutil.copytree(MODEL, folder)
    (folder / "chat_template.jinja").write_text(BUILTIN["chatml"].source, encoding="utf-8")
    about = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**about, "eos_token": "<|im_end|>"}), encoding="utf-8")
    return folder


def tokenizer(template: str | None = OWN_TEMPLATE) -> ChatTokenizer:
    backend = byte_level_tokenizer()
    ends = (backend.token_to_id(EOS),)
    return ChatTokenizer(backend, {"bos_token": BOS, "eos_token": EOS}, {"default": template} if template else {}, ends, True)


def served(id: str = "tiny", *, template: str | None = OWN_TEMPLATE, choice: str = "own", seed: int = 0, **engine: Any) -> Served:
    """A random model of two layers. `choice`: the template, as a recipe names it."""
    chat = tokenizer(template)
    contract = make_contract(chat, choice, where=id) if template or choice != "own" else None
    chat = contract.tokenizer if contract else chat
    stops = contract.stop_ids if contract else chat.eos_ids
    model = small_llama(chat.vocab_size, seed=seed)
    made = SlotEngine(model, chat, stops, **{"slots": 8, "context": CONTEXT, **engine})
    return Served(id, contract, chat, CONTEXT, made)


async def answer(one: Served, wanted: Wanted) -> list[Piece]:
    return [piece async for piece in one.engine.submit(wanted)]


def answers(one: Served, wanted: Sequence[Wanted]) -> list[list[Piece]]:
    """All at once."""

    async def together() -> list[list[Piece]]:
        return await asyncio.gather(*(answer(one, each) for each in wanted))

    return asyncio.run(together())


def text_of(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def ids_of(pieces: Sequence[Piece]) -> list[int]:
    return [info.id for piece in pieces for info in piece.tokens]


@contextmanager
def listening(app: Starlette) -> Iterator[str]:
    """The application's address while it is served."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(15)
        sock.close()
