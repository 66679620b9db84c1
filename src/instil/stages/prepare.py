"""Files -> conversations -> paths -> token stores -> what is trained and what is held out. No torch.

A store is made once per content: of the files, of the template and its options, of the tokenizer, of the rules, by one version of instil.
A second start opens it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path as Folder

import numpy as np

from instil import __version__
from instil.batch.order import Order, Stages, in_stages
from instil.batch.store import Prepared as Row
from instil.batch.store import Store, UnusableStore, cache_folder, open_store, store_key, write_store
from instil.core.errors import UserError, nearest
from instil.core.files import hash_file
from instil.core.ledger import ALLOWABLE, OUTCOMES, Counts, Entry, write_ledger
from instil.core.recipe import ROW, Recipe, Source
from instil.core.values import EXAMPLE, Conversation, Message, Path
from instil.data.source import Item, inputs_of, read_source
from instil.data.split import content_id, hold_out, mark_duplicates, prompt_id
from instil.model.resolve import context_length_of, folder_of, resolve_tokenizer
from instil.template.contract import Contract, make_contract
from instil.template.options import choose_options
from instil.template.paths import Rules, Templated, template_rows
from instil.template.saved import fingerprint
from instil.template.tokenizer import read_resolved

SAMPLE = 64  # conversations per source that settle template options
CHUNK = 512  # conversations per tokenizer call: enough to fill the cores, little enough to keep memory flat
KEPT, SHORTENED, DUPLICATE, HELD_OUT = (OUTCOMES.index(name) for name in ("kept", "shortened", "duplicate", "held out"))
LONGEST = 4096  # default for max_length where the model could take more

# What is counted while a source is templated, and the sentence about it.
TALLIES = {
    "bridged": "{} turns are bridged: the prompt's tail is not how the template shows the turn later (exact as served)",
    "unclean": "{} turns begin inside a token of the whole text: encoded apart, so that the prompt stays as served",
    "reasoning_lost": "{} turns lose their reasoning: the template does not show it",
    "unknown": "{} examples hold characters in the prompt that the tokenizer does not know: the model sees its unknown token there",
}

Say = Callable[[str], None]
Tick = Callable[[int], None]


@dataclass(frozen=True)
class Data:
    """A run's data, ready. `outcomes[k]` holds the final outcome of every row of store k, `rows[k]` the rows that are trained; `streams`
    are these by stage."""

    recipe: Recipe
    contract: Contract
    rules: Rules
    stores: tuple[Store, ...]
    outcomes: tuple[np.ndarray, ...]
    rows: tuple[np.ndarray, ...]
    streams: tuple["Stream", ...]
    held: tuple[tuple[int, int], ...]
    notes: tuple[str, ...]

    @property
    def max_tokens(self) -> int:
        """Of a row: what the recipe says, else what is usual and holds every example."""
        return self.recipe.train.max_tokens or max(ROW, self.rules.max_length)

    def order(self) -> Order | Stages:
        """The run's order of rows of `streams`, ending where the run ends."""
        train, order = self.recipe.train, self._order()
        ended = replace(order, total=train.steps * train.batch) if train.steps else order.until(train.epochs)
        stages = [stream.stage for stream in self.streams]
        return in_stages(ended, stages) if len(set(stages)) > 1 else ended

    def num_steps(self) -> int:
        return self.recipe.train.steps or self._order().num_steps(self.recipe.train.epochs)

    def rows_at(self, step: int) -> list[tuple[int, int]]:
        """(store, row of the store) of every row of a step."""
        named = ((self.streams[stream], index) for stream, index in self.order().batch_at(step))
        return [(stream.source, int(stream.rows[index])) for stream, index in named]

    def paths_at(self, step: int) -> list[Path]:
        return [path for source, row in self.rows_at(step) for path in self.stores[source].paths(row)]

    def _order(self) -> Order:
        weights = tuple(self.recipe.data[stream.source].weight for stream in self.streams)
        return Order(tuple(len(s.rows) for s in self.streams), weights, self.recipe.train.batch, self.recipe.seed)

    def held_paths(self) -> list[Path]:
        return [path for source, row in self.held for path in self.stores[source].paths(row)]

    def where(self, step: int, most: int = 4) -> str:
        """File and line of the first rows of a step."""
        batch = self.rows_at(step)
        named = [str(self.stores[source].entry(row).origin) for source, row in batch[:most]]
        return ", ".join(named) + (f" and {len(batch) - most} more" if len(batch) > most else "")

    def entries(self) -> Iterator[Entry]:
        for store, outcomes in zip(self.stores, self.outcomes, strict=True):
            yield from store.entries(outcomes)

    def write_ledger(self, path: Folder) -> Counts:
        return write_ledger(path, self.entries())


@dataclass(frozen=True, eq=False)
class Stream:
    """`rows` [N] of store number `source` that belong to one stage of a run."""

    source: int
    stage: int
    rows: np.ndarray


def prepare(recipe: Recipe, say: Say = lambda _: None, tick: Tick = lambda _: None) -> Data:
    """Everything up to the first step that needs no model. `say` gets what was found out and decided; `tick` the rows read so far.

    Raises UserError: unreadable data, no template, nothing left to train.
    """
    contract, rules = settle(recipe, say)
    for note in contract.notes:
        say(note)
    stores = tuple(prepare_source(source, recipe, contract, rules, say, tick) for source in recipe.data)
    outcomes = final_outcomes(recipe, stores)
    rows = tuple(np.flatnonzero((o == KEPT) | (o == SHORTENED)) for o in outcomes)
    streams = streams_of(recipe, stores, rows)
    data = Data(recipe, contract, rules, stores, outcomes, rows, streams, _held_rows(recipe, stores, outcomes), _notes(stores))
    _check_trainable(data)
    return data


def settle(recipe: Recipe, say: Say = lambda _: None) -> tuple[Contract, Rules]:
    """The chat contract and the rules of preparing, from the model's folder and a look at the first rows of every source."""
    folder = folder_of(recipe.model)
    tokenizer = read_resolved(resolve_tokenizer(recipe.model, cache_folder(), recipe.trust_remote_code))
    sample = [c for source in recipe.data for c in _sample(source, recipe)]
    contract = make_contract(
        tokenizer,
        recipe.template,
        where=recipe.model,
        options=recipe.template_options,
        with_tools=any(c.tools for c in sample),
        escape=recipe.control_tokens == "escape",
        allow=recipe.allow,
    )
    context = context_length_of(folder)
    if recipe.max_length and context and recipe.max_length > context:
        raise UserError(f"max_length {recipe.max_length} exceeds the context of {recipe.model} ({context} tokens): lower it")
    length = recipe.max_length or min(context or LONGEST, LONGEST)
    if recipe.train.max_tokens and length > recipe.train.max_tokens:
        raise UserError(
            f"train.max_tokens ({recipe.train.max_tokens}) must hold the longest example ({length} tokens): raise it, or lower max_length"
        )
    sample = [_dressed(c, recipe, contract) for c in sample]
    return choose_options(sample, contract), Rules(length, recipe.overlong == "shorten", frozenset(recipe.allow))


def _sample(source: Source, recipe: Recipe) -> list[Conversation]:
    items = read_source(source, lambda _: None, recipe.seed)
    return [item.conversation for item in islice(items, SAMPLE) if item.conversation is not None]


def prepare_source(source: Source, recipe: Recipe, contract: Contract, rules: Rules, say: Say, tick: Tick) -> Store:
    """The source's token store: opened if it was made before, else written."""
    files = inputs_of(source)
    if not files:
        raise UserError(f"{source.path} holds no data files: give a file, folder or glob of json, jsonl, csv, tsv or parquet files")
    identity = source.model_dump_json(exclude={"weight", "stage"})
    hashes = [part for path, name in files for part in (name, hash_file(path))]
    ways = (recipe.train_on, recipe.system or "", str(recipe.seed if source.take or source.options else 0), repr(sorted(rules.allow)))
    key = store_key(__version__, identity, *hashes, fingerprint(contract), str(rules.max_length), str(rules.shorten), *ways)
    folder = cache_folder() / "stores" / key
    try:
        store = open_store(folder)
    except UnusableStore:
        said: list[str] = []
        tallies = dict.fromkeys(TALLIES, 0)
        write_store(folder, _rows(source, recipe, contract, rules, said.append, tick, tallies), {"said": said, "tallies": tallies})
        store = open_store(folder)
    for sentence in store.facts["said"]:
        say(sentence)
    return store


def _rows(source: Source, recipe: Recipe, contract: Contract, rules: Rules, say: Say, tick: Tick, tallies: dict[str, int]) -> Iterator[Row]:
    """Every row of the source, templated, in order. Counts what deserves a sentence in `tallies`."""
    items = read_source(source, say, recipe.seed)
    unknown = contract.tokenizer.id_of(contract.tokenizer.special.get("unk_token"))
    count = 0
    while chunk := list(islice(items, CHUNK)):
        count += len(chunk)
        _refuse_bad_json(chunk, rules)
        conversations = [_dressed(i.conversation, recipe, contract) for i in chunk if i.conversation is not None]
        templated = iter(zip(conversations, template_rows(conversations, contract, rules), strict=True))
        for item in chunk:
            if item.conversation is None:
                yield _without_conversation(item)
                continue
            conversation, result = next(templated)
            tallies["bridged"] += result.num_bridged
            tallies["unclean"] += result.num_unclean
            tallies["reasoning_lost"] += result.num_reasoning_lost
            tallies["unknown"] += sum(unknown is not None and unknown in p.tokens[: p.num_context] for p in result.paths)
            yield _row(item, conversation, result)
        tick(count)


def _refuse_bad_json(chunk: Iterable[Item], rules: Rules) -> None:
    for item in chunk:
        if item.refused is not None and item.refused.code == "bad_json" and "bad_json" not in rules.allow:
            raise UserError(
                f"{item.origin}: {item.refused.detail}; mend the file, or set `allow: [bad_json]` to refuse such rows and go on"
            )


def _dressed(conversation: Conversation, recipe: Recipe, contract: Contract) -> Conversation:
    """The conversation as the recipe wants it: default system message, last turn only, instruction and input joined for the template."""
    messages = conversation.messages
    given = conversation.extra.get("input") if "instruction" in conversation.extra else None
    if given and contract.input_joint != "\n\n":
        plain, joined = (f"{conversation.extra['instruction']}{joint}{given}" for joint in ("\n\n", contract.input_joint))
        messages = tuple(replace(m, content=joined) if m.role == "user" and m.content == plain else m for m in messages)
    if recipe.system is not None and not any(m.role == "system" for m in messages):
        messages = (Message(role="system", content=recipe.system), *messages)
    dressed = replace(conversation, messages=messages)
    return dressed.last_turn_only() if recipe.train_on == "last" else dressed


def _without_conversation(item: Item) -> Row:
    if item.refused is None:
        return Row(item.origin, "not taken")
    return Row(item.origin, "refused", item.refused.code, item.refused.detail)


def _row(item: Item, conversation: Conversation, result: Templated) -> Row:
    hashes = content_id(conversation), prompt_id(conversation)
    stage = conversation.extra.get("stage")
    known = stage if type(stage) is int and 0 < stage < 2**31 else 0
    example = bool(conversation.extra.get(EXAMPLE))
    return Row(item.origin, result.outcome, result.reason, result.detail, *hashes, conversation.task, result.paths, known, example)


def streams_of(recipe: Recipe, stores: tuple[Store, ...], rows: tuple[np.ndarray, ...]) -> tuple[Stream, ...]:
    """The rows that are trained, by source and stage. A source of one stage is one stream. Raises UserError for rows without a stage."""
    streams = []
    for number, (source, store, mine) in enumerate(zip(recipe.data, stores, rows, strict=True)):
        if source.stage != "by row":
            streams.append(Stream(number, source.stage, mine))
            continue
        stages = np.asarray(store.stage)[mine]
        if not stages.all():
            first = store.entry(int(mine[np.argmin(stages)])).origin
            raise UserError(f"{source.path} is to be trained in stages `by row`, but {first} has no `stage` (1, 2, ...): give it one")
        streams += [Stream(number, int(stage), mine[stages == stage]) for stage in np.unique(stages)]
    return tuple(streams)


def final_outcomes(recipe: Recipe, stores: tuple[Store, ...]) -> tuple[np.ndarray, ...]:
    """Duplicates and held-out rows marked over all sources together, so that no prompt stands on both sides."""
    outcome = np.concatenate([np.asarray(s.outcome) for s in stores])
    prompts = np.concatenate([np.asarray(s.prompt) for s in stores])
    eligible = (outcome == KEPT) | (outcome == SHORTENED)
    if recipe.duplicates == "drop":
        duplicate = mark_duplicates(np.concatenate([np.asarray(s.content) for s in stores]), eligible)
        outcome[duplicate] = DUPLICATE
        eligible &= ~duplicate
    names = sorted({t for s in stores for t in s.tasks})
    for name in recipe.holdout.tasks:
        if name not in names:
            raise UserError(f"holdout.tasks: no row has the task '{name}'; {nearest(name, names) if names else 'no row has a task label'}")
    tasks = np.concatenate([_task_codes(s, names) for s in stores])
    held_tasks = {names.index(name) for name in recipe.holdout.tasks}
    shown = np.concatenate([np.asarray(s.example) for s in stores]).astype(bool)
    held = hold_out(prompts, tasks, eligible, held_tasks, recipe.holdout.examples, recipe.holdout.most, recipe.seed, shown)
    outcome[held] = HELD_OUT
    return tuple(np.split(outcome, np.cumsum([len(s) for s in stores])[:-1]))


def _task_codes(store: Store, names: list[str]) -> np.ndarray:
    known = np.array([names.index(t) for t in store.tasks] + [-1])  # code -1 in the store picks the last entry
    return known[np.asarray(store.task)]


def _held_rows(recipe: Recipe, stores: tuple[Store, ...], outcomes: tuple[np.ndarray, ...]) -> tuple[tuple[int, int], ...]:
    """Rows that the held-out loss is computed on: all, or where whole tasks make them many, as many as `holdout.most`, by prompt hash."""
    found = [(int(np.asarray(s.prompt)[r]), k, int(r)) for k, s in enumerate(stores) for r in np.flatnonzero(outcomes[k] == HELD_OUT)]
    return tuple((k, r) for _, k, r in sorted(found)[: max(recipe.holdout.most, 1)])


def _notes(stores: tuple[Store, ...]) -> tuple[str, ...]:
    tallies = {name: sum(s.facts["tallies"][name] for s in stores) for name in TALLIES}
    return tuple(TALLIES[name].format(f"{count:,}") for name, count in tallies.items() if count)


def _check_trainable(data: Data) -> None:
    if not sum(len(s) for s in data.stores):
        raise UserError(f"the data is empty: {', '.join(s.path for s in data.recipe.data)} hold no rows")
    for source, store, rows, outcomes in zip(data.recipe.data, data.stores, data.rows, data.outcomes, strict=True):
        if not len(rows) and not (outcomes == HELD_OUT).any():  # a source may be a task that is held out whole
            raise UserError(f"no row of {source.path} is left to train: {_why(store, outcomes)}")


def _why(store: Store, outcomes: np.ndarray) -> str:
    """The commonest fates of a source's rows, the first refusal in full, and what could be done about it."""
    names, counts = np.unique(outcomes, return_counts=True)
    fates = ", ".join(f"{count:,} {OUTCOMES[name]}" for name, count in zip(names.tolist(), counts.tolist(), strict=True))
    first = next((e for e in store.entries() if e.outcome == "refused"), None)
    if first is None:
        return f"{fates}; mend or remove it"
    way = f" or set `allow: [{first.reason}]`" if first.reason in ALLOWABLE else ""
    return f"{fates}, the first at {first.origin} ({first.reason}: {first.detail}); mend the rows{way}"
