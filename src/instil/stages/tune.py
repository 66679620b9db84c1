"""Tune a model as a recipe says: data, model, probe, loop, model folder, verdict. The middle of the road from README to train/loop.py."""

import contextlib
import fcntl
import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console

from instil.batch.share import lay_out_shared
from instil.batch.trie import Row
from instil.core.errors import UserError
from instil.core.files import disk_errors, hash_text, read_json, read_jsonl
from instil.core.ledger import Counts
from instil.core.loading import dump_recipe
from instil.core.recipe import Evaluate, Recipe
from instil.core.run import RunFolder, check_new, create_run, open_run, run_name, write_manifest
from instil.evaluate.verdict import NOT_EVALUATED
from instil.model.attention import tree_attention
from instil.model.shard import gather_trained, within
from instil.plan.need import Device, Precision
from instil.stages.beside import pauses
from instil.stages.build import Built, build_model, lean, save_model
from instil.stages.fit import Fit, check_fit, fit_run, settled
from instil.stages.gather import check_files
from instil.stages.judge import evaluate_run, leave_unjudged
from instil.stages.judging import check_judge
from instil.stages.prepare import Data, prepare
from instil.stages.say import Teller
from instil.template.saved import fingerprint
from instil.train.ahead import Ahead
from instil.train.checkpoint import State, last_checkpoint, load_optimizer, load_weights, prune, read_state
from instil.train.distributed import World, local_size
from instil.train.heap import give_back_freed_memory, keep_freed_memory
from instil.train.loop import Every, mean_loss, train
from instil.train.memory import choose_precision, device_of_run, memory_of_run
from instil.train.objectives import supervised, with_embedding_noise
from instil.train.optimizer import check_optimizer, make_optimizer, rate_at
from instil.train.parallel import choose_shards
from instil.train.records import Records, check_tensorboard
from instil.train.signals import stop_on_signals
from instil.train.watch import Watch, together

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """What a call of `tune` came to. `finished` is False where a signal ended it in a checkpoint.

    `base_loss` and `loss`: held-out losses of the base model and of the weights that were kept, None where nothing is held out. `verdict`:
    see `evaluate.verdict`; None before there is one. `leads`: of several ranks, the one that speaks.
    """

    folder: Path
    finished: bool
    steps: int
    base_loss: float | None
    loss: float | None
    best_step: int | None
    verdict: str | None = None
    leads: bool = True


def tune(recipe: Recipe, console: Console | None = None) -> Outcome:
    """A new run. Raises UserError before anything is written where recipe, data or model cannot be used."""
    check_new(recipe)
    check_files(recipe.evaluate)
    check_judge(recipe.evaluate)
    return _judged(recipe, *_run(recipe, None, console), console)


def resume_run(path: str | Path, console: Console | None = None) -> Outcome:
    """Continue a run under its own recipe, from its last checkpoint. The result is the run that was never interrupted."""
    folder = open_run(path)
    recipe = folder.read_recipe().model_copy(update={"name": folder.path.name, "runs": str(folder.path.parent)})
    return _judged(recipe, *_run(recipe, folder, console), console)


def _judged(recipe: Recipe, outcome: Outcome, world: World, console: Console | None) -> Outcome:
    """The outcome with its verdict. Evaluated is what was saved, as it will be served; what was in memory for tuning has gone by then."""
    if not outcome.finished or not world.leads:
        return replace(outcome, leads=world.leads)
    summary = outcome.folder / "evaluation" / "summary.json"
    if not recipe.evaluate.wanted:
        leave_unjudged(outcome.folder, console)
        return replace(outcome, verdict=NOT_EVALUATED)
    if not summary.exists():  # a finished run that is continued is the same run
        evaluate_run(outcome.folder, console=console)
    return replace(outcome, verdict=read_json(summary)["verdict"])


def _run(recipe: Recipe, resumed: RunFolder | None, console: Console | None) -> tuple[Outcome, World]:
    check_tensorboard(recipe.train.tensorboard)
    with contextlib.ExitStack() as stack:
        world, watch = stack.enter_context(together(recipe.train.timeout))
        check_optimizer(recipe.train, device_of_run())  # not before a rank has its own GPU
        if resumed is not None and world.leads:
            stack.enter_context(_only_writer(resumed))
        tell = Teller(console or Console(), quiet=not world.leads)
        if recipe.train.threads:
            torch.set_num_threads(recipe.train.threads)
        last = world.first(lambda: last_checkpoint(resumed.checkpoints, recipe_hash(recipe))) if resumed is not None else None
        data = _prepare_once(recipe, world, tell)
        if recipe.train.keep == "best" and not data.held:
            raise UserError("train.keep is best, but no row is held out to tell which: raise holdout.examples, or set train.keep: last")
        steps = data.num_steps()
        world = replace(world, shards=world.first(lambda: choose_shards(recipe, world, device_of_run())))
        fit = _plan(data, resumed is not None, world, tell)
        data = settled(data, fit)
        recipe = data.recipe
        built = build_model(recipe, data, tell, world, fit)
        (keep_freed_memory if built.roomy else give_back_freed_memory)()
        folder, counts = _open_folder(recipe, data, built, resumed, world)
        if resumed is None and world.leads:
            stack.enter_context(_only_writer(folder))
        tell.data(data, counts, built)
        if watch is not None:
            watch.continued = f"instil train --resume {folder.path}"
        return _train(recipe, data, built, folder, last, steps, world, watch, tell), world


def _plan(data: Data, resumed: bool, world: World, tell: Teller) -> Fit | None:
    """Rows and recomputation that fit, the same on every rank. A run that has begun is never refused: it fitted then."""
    device, knobs = device_of_run(), data.recipe.train
    memory = memory_of_run(device, knobs.memory, 1 if device.type == "cuda" else local_size(world))
    least = min(world.sum({f"memory of rank {world.rank}": memory or math.inf}).values())
    precision: Precision = "bf16" if choose_precision(knobs.computed_in, device) == torch.bfloat16 else "fp32"
    kind: Device = "gpu" if device.type == "cuda" else "cpu"
    fit = fit_run(data, least if math.isfinite(least) else None, kind, precision, world.shards or 1, world.size)
    if fit is None:
        return None
    if not resumed:
        check_fit(fit)
    if not fit.fits:
        tell.say(f"memory may not suffice: the run needs {fit.gib}; what would help: {fit.advice}")
    elif fit.rows < data.max_tokens:
        tell.say(f"rows of {fit.rows:,} tokens at most instead of {data.max_tokens:,}: the run needs {fit.gib}")
    return fit


@contextlib.contextmanager
def _only_writer(folder: RunFolder) -> Iterator[None]:
    """Keep a second process from writing the same run. The lock goes with this process, however it ends."""
    with disk_errors(folder.recipe):
        file = open(folder.recipe, "r+", encoding="utf-8")  # noqa: SIM115  the errors of the run itself are not this file's
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"run {folder.path} is being written by another process: wait for it, or stop it first") from None
        except OSError:  # a file system without locks
            pass
        yield


def _prepare_once(recipe: Recipe, world: World, tell: Teller) -> Data:
    """One rank writes the stores, then all open them."""
    if not world.leads:
        world.wait()
    with tell.preparing() as tick:
        data = prepare(recipe, tell.say, tick)
    if world.leads:
        world.wait()
    return data


def _open_folder(recipe: Recipe, data: Data, built: Built, resumed: RunFolder | None, world: World) -> tuple[RunFolder, Counts | None]:
    """The run's folder with recipe, ledger and manifest. A resumed run must find the data as it was."""
    keys = [store.folder.name for store in data.stores]
    known = read_json(resumed.manifest) if resumed is not None and resumed.manifest.exists() else {}
    for key, now, what in (("stores", keys, "its data, template, tokenizer or instil's version"), ("base", built.base, "its base model")):
        if known.get(key, now) != now:
            raise UserError(f"run {recipe.name} cannot be continued, because {what} changed since it began: restore it, or start a new run")
    if not world.leads:
        return resumed or RunFolder(Path(recipe.runs) / run_name(recipe)), None
    folder = resumed or create_run(recipe)
    _remove_leftovers(folder)
    counts = data.write_ledger(folder.ledger)
    write_manifest(folder, **_facts(recipe, data, built, counts, keys))
    return folder, counts


def _remove_leftovers(folder: RunFolder) -> None:
    """What killed writers left under the temporary names of `core.files`."""
    for left in (left for place in (folder.path, folder.checkpoints) for kind in ("tmp", "old") for left in place.glob(f".*.{kind}")):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def _facts(recipe: Recipe, data: Data, built: Built, counts: Counts, keys: list[str]) -> dict[str, Any]:
    return {
        "recipe": recipe_hash(recipe),
        "seed": recipe.seed,
        "allowed": sorted(recipe.allow),
        "stores": keys,
        "base": built.base,
        "rows": counts.rows,
        "outcomes": dict(counts.outcomes),
        "reasons": dict(counts.reasons),
        "contract": fingerprint(data.contract),
        "stop_tokens": [data.contract.tokenizer.decode([i]) for i in data.contract.stop_ids],
        "template_options": dict(data.contract.template.options),
        "notes": [*data.contract.notes, *data.notes],
        "parameters": {"trainable": built.trainable, "all": built.parameters},
        "precision": str(built.precision).removeprefix("torch."),
        "memory": {
            "row": data.max_tokens,
            "recomputed": built.recompute,
            "needed": round(built.fit.need.total) if built.fit is not None else None,
        },
        "probe": {"mode": built.probe.mode, "difference": built.probe.difference, "tolerance": built.probe.tolerance},
    }


def recipe_hash(recipe: Recipe) -> str:
    """Identity of what a recipe trains: a moved or renamed run is still the same run, and so is one that is evaluated in another way, or
    may take more memory."""
    train = recipe.train.model_copy(update={"memory": None})
    return hash_text(dump_recipe(recipe.model_copy(update={"name": None, "runs": "", "evaluate": Evaluate(), "train": train})))


def _train(
    recipe: Recipe,
    data: Data,
    built: Built,
    folder: RunFolder,
    last: tuple[Path, State] | None,
    steps: int,
    world: World,
    watch: Watch | None,
    tell: Teller,
) -> Outcome:
    model, knobs, tree = built.model, recipe.train, built.probe.mode == "tree"
    optimizer = make_optimizer(model, knobs, recipe.learning_rate, recipe.seed)
    identity, tensorboard = recipe_hash(recipe), knobs.tensorboard
    path, state = last or (None, None)
    if path and state:
        load_weights(path, model)
        load_optimizer(path, model, optimizer)
        if world.leads:
            prune(folder.checkpoints, state)  # what a kill between saving and pruning left
        tell.say(f"continued from step {state.step} of {steps}")
    noisy = plain = supervised(tree, data.max_tokens)
    if knobs.neftune:
        noisy = with_embedding_noise(plain, knobs.neftune)
    if built.root is not None:
        noisy, plain = within(built.root, noisy), within(built.root, plain)
    held = _rows(data.held_paths(), data, tree, world) if data.held else []
    records = Records(folder, identity=identity, continued=state, steps=steps, tensorboard=tensorboard, console=tell.console, world=world)
    began = time.monotonic()
    attending = tree_attention(model) if tree else contextlib.nullcontext()
    ahead = Ahead(lambda step: _rows(data.paths_at(step), data, tree, world), steps)
    with stop_on_signals() as stop, records, lean(model, knobs.compile == "on" or built.root is not None), attending, ahead as rows_at:
        end = train(
            model,
            state=state or State(),
            steps=steps,
            rows_at=rows_at,
            objective=noisy,
            optimizer=optimizer,
            rate_at=lambda step: rate_at(step, steps, knobs, recipe.learning_rate),
            seed=recipe.seed,
            every=Every(*pauses(recipe, steps)),
            evaluate=mean_loss(held, plain, built.autocast, world) if held else None,
            save=_watched(watch, lambda state: records.save(model, optimizer, state), lambda state: f"checkpoint of step {state.step}"),
            report=_watched(watch, records.report, lambda record: f"step {record['step']}"),
            where=data.where,
            stop=lambda: bool(stop),
            clip=knobs.clip,
            autocast=built.autocast,
            world=world,
        )
    outcome = _outcome(recipe, folder, end, steps)
    if outcome.finished:
        _keep(recipe, folder, end, identity, built, world, tell)
        gather_trained(model, world.leads)
        if world.leads:
            save_model(folder.model, recipe, data, built)
    tell.end(outcome, time.monotonic() - began, stop.asked)
    return outcome


def _watched(watch: Watch | None, work: Callable[[T], None], done: Callable[[T], str]) -> Callable[[T], None]:
    """`work`, of which the other ranks are told when it is done."""
    if watch is None:
        return work

    def told(value: T) -> None:
        work(value)
        watch.progress(done(value))

    return told


def _rows(paths: Any, data: Data, tree: bool, world: World) -> list[Row]:
    return lay_out_shared(paths, data.max_tokens, world.size, data.recipe.train.average, share=tree)


def _kept_step(recipe: Recipe, state: State) -> int:
    """The step whose weights become the run's model."""
    return state.best_step if recipe.train.keep == "best" and state.best_step else state.step


def _keep(recipe: Recipe, folder: RunFolder, state: State, identity: str, built: Built, world: World, tell: Teller) -> None:
    """Weights of the best held-out loss, where the recipe asks for them instead of the last."""
    kept = _kept_step(recipe, state)
    if kept != state.step:
        best = folder.checkpoints / f"step-{kept}"
        world.first(lambda: read_state(best, identity))
        load_weights(best, built.model)
        tell.say(f"kept the weights of step {kept}, which had the lowest held-out loss")
    elif recipe.train.keep == "best" and state.best_step == 0:
        tell.say("no step had a lower held-out loss than the base model: the last step's weights are kept")


def _outcome(recipe: Recipe, folder: RunFolder, state: State, steps: int) -> Outcome:
    held = {record["step"]: record["held_out"]["loss"] for record in read_jsonl(folder.metrics) if "held_out" in record}
    return Outcome(folder.path, state.step == steps, state.step, held.get(0), held.get(_kept_step(recipe, state)), state.best_step)
