"""Load a run, or any model, and talk to it: the very prompts that were trained, the very stop tokens."""

import contextlib
import functools
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from instil.batch.store import cache_folder
from instil.core.errors import Refused, UserError
from instil.core.files import read_json
from instil.core.values import Message
from instil.data.turns import read_turns
from instil.model.adapters import load_adapter
from instil.model.generate import stream
from instil.model.load import add_tokens, load_model
from instil.model.resolve import context_length_of, folder_of, resolve_tokenizer
from instil.template.contract import Contract, make_contract
from instil.template.render import as_dict
from instil.template.saved import read_contract
from instil.template.spelling import Spelling
from instil.template.tokenizer import ChatTokenizer, read_resolved
from instil.train.memory import device_of_run

Answer = Generator[str, None, str]


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn. `temperature` 0 is greedy; `max_tokens` bounds an answer."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 512
    seed: int = 0


@dataclass(frozen=True)
class Assistant:
    """A model that answers. `contract` is None for a raw base model, which only continues text. `context`: longest input, in tokens.
    `load_base` makes the model that this one was tuned from, where that is another model; `adapter`: it is this one without its adapter.
    """

    model: torch.nn.Module
    tokenizer: ChatTokenizer
    contract: Contract | None
    context: int | None = None
    load_base: "Callable[[], Assistant] | None" = None
    adapter: bool = False
    sampling: Sampling = field(default_factory=Sampling)

    def chat(self, messages: Sequence[Message | Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> Message:
        """The answer to a conversation (Messages, or mappings in OpenAI's shape). Raises UserError where the template refuses it."""
        return Message(role="assistant", content="".join(self.stream(messages, tools)))

    def stream(self, messages: Sequence[Message | Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> Answer:
        """The answer piece by piece, without the stop token. The generator returns how it ended, see `complete`."""
        return (yield from self.complete(self._prompt(_read(messages), tools)))

    def complete(self, prompt: list[int]) -> Answer:
        """The text that follows `prompt`, as it comes; bytes of one character are held back until it is whole. The generator returns
        "stop", or "length" where the answer was cut. Raises UserError where the prompt leaves no room."""
        stops = self.contract.stop_ids if self.contract else self.tokenizer.eos_ids
        room = self.sampling.max_tokens if self.context is None else min(self.sampling.max_tokens, self.context - len(prompt))
        if room <= 0:
            raise UserError(f"the conversation has {len(prompt)} tokens, the model takes {self.context}: /reset, or ask something shorter")
        drawn = stream(
            self.model,
            prompt,
            stop_ids=stops,
            max_new_tokens=room,
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
            seed=self.sampling.seed,
        )
        return (yield from _spell(drawn, prompt, stops, self.tokenizer))

    def _prompt(self, chat: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> list[int]:
        if self.contract is None:
            bos = self.tokenizer.id_of(self.tokenizer.special.get("bos_token")) if self.tokenizer.wants_bos else None
            return [*([bos] if bos is not None else []), *self.tokenizer.encode("\n".join(m.content for m in chat))]
        try:
            return self.contract.prompt(chat, tools)
        except Refused as refused:
            raise UserError(f"this conversation cannot be sent to the model: {refused.detail}") from None

    @contextlib.contextmanager
    def as_base(self) -> "Iterator[Assistant]":
        """The base model that this one was tuned from, in the same template, for comparison. Raises UserError where there is none."""
        if self.load_base is not None:
            yield self.load_base()
        elif self.adapter:
            with self.model.disable_adapter():  # type: ignore[operator]
                yield self
        else:
            raise UserError("there is no base model to compare with: give a run, or a run's model folder")


def _read(messages: Sequence[Message | Mapping[str, Any]]) -> tuple[Message, ...]:
    """Messages as they are, mappings as the rows of a data file are read."""
    try:
        return read_turns([as_dict(m) if isinstance(m, Message) else dict(m) for m in messages], ("role",), ("content",))
    except Refused as refused:
        raise UserError(f"this conversation cannot be read: {refused.detail}") from None


def _spell(drawn: Iterator[int], prompt: Sequence[int], stops: Collection[int], tokenizer: ChatTokenizer) -> Answer:
    """The text of the tokens `drawn` behind `prompt`, and how they ended."""
    spelling, end = Spelling(prompt, tokenizer), "length"
    for token in drawn:
        if token in stops:
            end = "stop"
            break
        if piece := spelling.push(token):
            yield piece
    if rest := spelling.rest():
        yield rest
    return end


def load(path: str | Path, *, sampling: Sampling | None = None, trust_remote_code: bool = False) -> Assistant:
    """The assistant in a run folder, a run's model folder, or any model (folder or hub id). Raises UserError where there is no model."""
    folder = model_folder(Path(path))
    chosen = sampling or Sampling()
    if folder is None or not (folder / "instil.json").exists():
        return _load_any(str(path), chosen, trust_remote_code)
    contract = read_contract(folder)
    base = read_json(folder / "base.json")
    device = device_of_run()
    load_base = None
    model: torch.nn.Module
    if base["method"] == "lora":
        model = load_adapter(load_model(base["model"], device=device, trust_remote_code=trust_remote_code), folder)
        context = context_length_of(folder_of(base["model"]))
    else:
        model = load_model(str(folder), device=device, trust_remote_code=trust_remote_code)
        context = context_length_of(folder)
        load_base = functools.cache(lambda: _base(base["model"], contract, device, chosen, trust_remote_code))
    return Assistant(model.eval(), contract.tokenizer, contract, context, load_base, base["method"] == "lora", chosen)


def load_base_alone(path: str | Path, *, trust_remote_code: bool = False) -> Assistant | None:
    """The base model that a run was tuned from, under the run's contract and with weights of its own; None where `path` is no run."""
    folder = model_folder(Path(path))
    if folder is None or not (folder / "instil.json").exists() or not (folder / "base.json").exists():
        return None
    return _base(read_json(folder / "base.json")["model"], read_contract(folder), device_of_run(), Sampling(), trust_remote_code)


def _base(name: str, contract: Contract, device: torch.device, sampling: Sampling, trust_remote_code: bool) -> Assistant:
    """The base model under the tuned model's contract: what tuning changed is then the only difference."""
    model = load_model(name, device=device, trust_remote_code=trust_remote_code)
    new = [i for t in contract.tokenizer.added if (i := contract.tokenizer.id_of(t)) is not None]
    add_tokens(model, contract.tokenizer.vocab_size, new, 0)
    return Assistant(model.eval(), contract.tokenizer, contract, context_length_of(folder_of(name)), None, False, sampling)


def _load_any(name: str, sampling: Sampling, trust_remote_code: bool) -> Assistant:
    tokenizer = read_resolved(resolve_tokenizer(name, cache_folder(), trust_remote_code))
    contract = make_contract(tokenizer, "own", where=name, allow=["no_stop"]) if "default" in tokenizer.templates else None
    model = load_model(name, device=device_of_run(), trust_remote_code=trust_remote_code)
    return Assistant(model.eval(), tokenizer, contract, context_length_of(folder_of(name)), None, False, sampling)


def model_folder(path: Path) -> Path | None:
    """The model folder of a run, or the path itself if it is a folder. Raises UserError for a run that has not finished."""
    if not path.is_dir():
        return None
    if (path / "recipe.yaml").exists() and (path / "ledger.jsonl").exists():
        if not (path / "model").exists():
            raise UserError(f"run {path} has no model yet: finish it with `instil train --resume {path}`")
        return path / "model"
    return path
