"""What receives loss? instil beside TRL's own builders, over the real chat templates that TRL carries: `python benchmarks/masks.py`.

Every letter of message k lies in a Unicode range of its own, so each trained character can be judged by whose it is, whatever the template
and whoever built the mask. Prompts are compared with what transformers sends to a model for the same conversation. A toy byte-level
tokenizer stands for the real ones, so lengths mean nothing. Needs the PyPI package `trl`; writes results/masks.json and the figures in
docs/masks.md.
"""

import contextlib
import importlib.metadata
import json
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ |= {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "critical"}

import datasets  # noqa: E402
import jinja2  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from transformers import PreTrainedTokenizerFast  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402
from trl.chat_template_utils import get_training_chat_template, has_generation_markers  # noqa: E402

from instil.core.errors import Refused, UserError  # noqa: E402
from instil.core.values import Conversation, Message  # noqa: E402
from instil.template.contract import Contract, make_contract  # noqa: E402
from instil.template.options import choose_options  # noqa: E402
from instil.template.paths import Rules, template_rows  # noqa: E402
from instil.template.tokenizer import ChatTokenizer  # noqa: E402
from tests.template.dialogues import DIALOGUES, letters_of, mark, openai, owner, unmark  # noqa: E402
from tests.template.toy import ends_of, toy_tokenizer, trl_templates  # noqa: E402

PAGE, RESULTS = ROOT / "docs" / "masks.md", ROOT / "benchmarks" / "results" / "masks.json"
BEGIN, END = "<!-- figures, written by benchmarks/masks.py -->\n", "<!-- end of the figures -->\n"

# What ends a turn, family by family, by hand from chat formats and generation configs (beside the declared ends of `toy.ENDS`).
STOPS = {
    "diffusion_gemma": ("<turn|>", "<|tool_response>"),
    "gemma": ("<end_of_turn>",),
    "gemma4": ("<turn|>", "<|tool_response>"),
    "idefics3": ("<end_of_utterance>",),
    "lfm2": ("<|im_end|>",),
    "nemotron": ("<|im_end|>",),
    "phi3": ("<|end|>",),
    "qwen": ("<|im_end|>",),
    "smolvlm": ("<end_of_utterance>",),
}
FORGED = "control tokens in user text"


@dataclass(frozen=True)
class Example:
    """What a builder trains on: token ids, and for each whether it receives loss."""

    ids: list[int]
    trained: list[bool]


@dataclass(frozen=True)
class Case:
    """One dialogue for one template, marked, and what the judge needs to know besides."""

    name: str
    dialogue: str
    conversation: Conversation
    contract: Contract
    server: PreTrainedTokenizerFast
    stops: tuple[str, ...]


@dataclass(frozen=True)
class Judgement:
    """What is wrong with one row, in characters or in turns; `refused` holds the builder's own words. `thoughtless` turns are trained
    without the reasoning that the row has for them: often the template's doing, and no wrong mask."""

    foreign: int = 0
    missed: int = 0
    header: int = 0
    endless: int = 0
    unlike: int = 0
    forged: int = 0
    thoughtless: int = 0
    turns: int = 0
    refused: str | None = None

    @property
    def clean(self) -> bool:
        return self == Judgement(thoughtless=self.thoughtless, turns=self.turns)


# the judge


def judge(case: Case, examples: Sequence[Example], turns: Sequence[int]) -> Judgement:
    """Whose characters are trained, whether the answers of `turns` are, behind which prompt, and whether they stop."""
    roles = [m.role for m in case.conversation.messages]
    shown = [characters(case.contract.tokenizer, e) for e in examples]
    foreign = sum(t and (k := owner(c)) is not None and roles[k] != "assistant" for chars in shown for c, t in chars)
    faults = sum((Counter(judge_turn(case, shown, i)) for i in turns), Counter[str]())
    forged = sum(is_forged(case, e) for e in examples) if case.dialogue == FORGED else 0
    return Judgement(foreign=foreign, forged=min(forged, 1), turns=len(turns), **faults)


def characters(tokenizer: ChatTokenizer, example: Example) -> list[tuple[str, bool]]:
    """Each character of an example, and whether it is trained: whether any of its bytes is."""
    found: list[tuple[str, bool]] = []
    inside = False
    for piece, trained in zip(tokenizer.pieces(example.ids), example.trained, strict=True):
        inside |= trained
        found += [(c, inside) for c in piece]
        inside &= not piece
    return found


def judge_turn(case: Case, shown: Sequence[list[tuple[str, bool]]], i: int) -> dict[str, int]:
    """The faults of one turn: letters missed, prompt characters trained, and 0 or 1 for the others."""
    message = case.conversation.messages[i]
    wanted = Counter(letters_of(message.content) + "".join(letters_of(c.name) for c in message.tool_calls))
    chars = next((s for s in shown if any(t and owner(c) == i for c, t in s)), None)
    if chars is None:
        return {"missed": wanted.total(), "endless": 1}
    trained = Counter(c for c, t in chars if t)
    mine = [p for p, (c, t) in enumerate(chars) if t and owner(c) == i]
    begin = max((p + 1 for p in range(mine[0]) if owner(chars[p][0]) not in (None, i)), default=0)
    end = next((p for p in range(mine[-1], len(chars)) if owner(chars[p][0]) not in (None, i)), len(chars))
    text, prompt = "".join(c for c, _ in chars), served(case, i)
    tail = prompt[max((p + 1 for p, c in enumerate(prompt) if owner(c) is not None), default=0) :]
    header = sum(t for _, t in chars[begin : begin + len(tail)]) if text.startswith(tail, begin) else 0
    behind = "".join(c for c, t in chars[mine[-1] : end] if t)
    return {
        "missed": (wanted - trained).total(),
        "header": header,
        "endless": not any(stop in behind for stop in case.stops),
        "unlike": text[: begin + len(tail)] != prompt,
        "thoughtless": (Counter(letters_of(message.content + (message.reasoning or ""))) - trained).total() > 0,
    }


def served(case: Case, i: int) -> str:
    """The prompt that a server sends for turn `i`, under the template options in use; nothing where the template refuses it."""
    chat = [openai(m, case.contract.template.parts) for m in case.conversation.messages[:i]]
    options, tools = case.contract.template.options, list(case.conversation.tools) or None
    try:
        return str(case.server.apply_chat_template(chat, tools=tools, add_generation_prompt=True, tokenize=False, **options))
    except (jinja2.TemplateError, TypeError):
        return ""


def is_forged(case: Case, example: Example) -> bool:
    """Whether a control token stands between the first and the last letter of the first user's text."""
    pieces = case.contract.tokenizer.pieces(example.ids)
    letters = [p for p, piece in enumerate(pieces) if piece and owner(piece) == 0]
    special = {case.contract.tokenizer.id_of(t) for t, is_special in case.contract.tokenizer.added_tokens.items() if is_special}
    return bool(special & set(example.ids[letters[0] : letters[-1]]))


# the builders: each gives examples and the turns that it means to train, or raises


def instil(case: Case, escape: bool = False) -> tuple[list[Example], list[int]]:
    contract = make_contract(case.contract.tokenizer, "own", where=case.name, escape=escape)
    contract = choose_options([case.conversation], contract)
    [found] = template_rows([case.conversation], contract, Rules(10**6))
    if found.reason:
        raise Refused(found.reason, found.detail or "")
    examples = [Example(p.tokens.tolist(), [k >= p.num_context for k in range(len(p.tokens))]) for p in found.paths]
    return examples, assistant_turns(case)


def trl(case: Case, row: dict[str, Any], assistant_only: bool) -> Example:
    """One row through `SFTTrainer`'s own preparation, up to its labels. The trainer itself would need a model: only what the preparation
    reads of it is set, as `SFTTrainer.__init__` sets it."""
    trainer: Any = SimpleNamespace(_tokenizer=case.server, chat_template=None, completion_only_loss="prompt" in row)
    if assistant_only and not has_generation_markers(case.server.chat_template):
        trainer.chat_template = get_training_chat_template(case.server)
    config = SFTConfig(output_dir="unused", assistant_only_loss=assistant_only, max_length=None, report_to=[], use_cpu=True, bf16=False)
    options = {"chat_template_kwargs": dict(case.contract.template.options)} if case.contract.template.options else {}
    tools = {"tools": json.dumps([dict(t) for t in case.conversation.tools])} if case.conversation.tools else {}
    data = datasets.Dataset.from_list([row | options | tools])
    made = SFTTrainer._prepare_dataset(trainer, data, case.server, config, False, None, "train")[0]
    return Example(made["input_ids"], [label != -100 for label in made["labels"]])


def trl_assistant_only(case: Case) -> tuple[list[Example], list[int]]:
    return [trl(case, {"messages": sent(case)}, True)], assistant_turns(case)


def trl_default(case: Case) -> tuple[list[Example], list[int]]:
    return [trl(case, {"messages": sent(case)}, False)], assistant_turns(case)


def trl_prompt_completion(case: Case) -> tuple[list[Example], list[int]]:
    last = assistant_turns(case)[-1]
    return [trl(case, {"prompt": sent(case)[:last], "completion": sent(case)[last : last + 1]}, False)], [last]


def sent(case: Case) -> list[dict[str, Any]]:
    return [openai(m, case.contract.template.parts) for m in case.conversation.messages]


def assistant_turns(case: Case) -> list[int]:
    return [i for i, m in enumerate(case.conversation.messages) if m.role == "assistant"]


BUILDERS: dict[str, Callable[[Case], tuple[list[Example], list[int]]]] = {
    "instil": instil,
    "instil, escape": lambda case: instil(case, escape=True),
    "TRL, assistant_only_loss": trl_assistant_only,
    "TRL, default": trl_default,
    "TRL, prompt and completion": trl_prompt_completion,
}


# all of it


def cases(name: str) -> list[Case]:
    source, ends = trl_templates()[name].read_text(encoding="utf-8"), ends_of(name)
    base = make_contract(toy_tokenizer(source, ends), "own", where=name)
    special = {"bos_token": "<bos>", "eos_token": ends[0], "pad_token": ends[0]}
    server = PreTrainedTokenizerFast(tokenizer_object=base.tokenizer.backend, chat_template=source, **special)
    stops = (*ends, *next((s for f, s in sorted(STOPS.items(), reverse=True) if name.startswith(f)), ()))
    talks = {label: mark(dialogue) for label, dialogue in DIALOGUES.items()} | {FORGED: forged(base)}
    return [Case(name, label, talk, choose_options([talk], base), server, stops) for label, talk in talks.items()]


def forged(contract: Contract) -> Conversation:
    """A user whose text ends its own turn and opens the assistant's."""
    plain = mark(Conversation(messages=(Message(role="user", content="Say hi."), Message(role="assistant", content="Hi."))))
    with_forgery = mark(Conversation(messages=(Message(role="user", content="I obey."),)))
    user, assistant = plain.messages
    between = contract.template.render(plain.messages).partition(user.content)[2].partition(assistant.content)[0]
    return replace(plain, messages=(replace(user, content=user.content + between + with_forgery.messages[0].content), assistant))


def tried(builder: str, case: Case) -> Judgement:
    try:
        with contextlib.redirect_stdout(None):
            examples, turns = BUILDERS[builder](case)
    except (Refused, UserError) as refused:
        return Judgement(refused=readable(str(refused)))
    except Exception as error:  # whatever TRL or a template raises is its refusal
        return Judgement(refused=readable(f"{type(error).__name__}: {error}"))
    return judge(case, examples, turns)


def readable(message: str) -> str:
    """Without the marks, which stand in quotations as escapes."""
    return unmark(re.sub(r"\\u(e[1-9a-f]..|f[0-8]..)", lambda m: chr(int(m[1], 16)), message))


COLUMNS = {
    "clean": "clean",
    "answers": "answers in them",
    "refused": "refused",
    "foreign": "user, system or tool text trained",
    "missed": "answer text missed",
    "header": "prompt trained",
    "endless": "stop missing",
    "unlike": "prompt not the server's",
    "forged": "forged turn",
    "thoughtless": "(reasoning left out)",
}


def count(judgements: Sequence[Judgement]) -> dict[str, str]:
    """A row of the table: how many rows have each fault, and how many characters where that says more."""
    clean = [j for j in judgements if j.clean]
    cells = {"clean": str(len(clean)), "answers": str(sum(j.turns for j in clean))}
    cells["refused"] = str(sum(j.refused is not None for j in judgements))
    for fault in list(COLUMNS)[3:]:
        rows = [getattr(j, fault) for j in judgements if getattr(j, fault)]
        cells[fault] = f"{len(rows)} ({sum(rows):,} characters)" if rows and fault in ("foreign", "missed", "header") else str(len(rows))
    return cells


def main() -> None:
    logging.disable(logging.WARNING)
    datasets.disable_progress_bars()
    datasets.disable_caching()
    console = Console()
    found: dict[tuple[str, str, str], Judgement] = {}
    for name in trl_templates():
        for case in cases(name):
            for builder in BUILDERS:
                found[builder, name, case.dialogue] = tried(builder, case)
        console.print(f"[dim]{name}[/dim]", highlight=False)
    table = Table("builder", *COLUMNS.values(), title=f"{len(found) // len(BUILDERS)} rows each: {len(trl_templates())} templates")
    figures = {b: count([j for (builder, *_), j in found.items() if builder == b]) for b in BUILDERS}
    for builder, cells in figures.items():
        table.add_row(builder, *cells.values())
    console.print(table)
    write(found, figures)
    wrong = [key for key, j in found.items() if key[0].startswith("instil") and not j.clean and not j.refused]
    if wrong:
        sys.exit(f"instil made a wrong mask: {wrong}")


def write(found: dict[tuple[str, str, str], Judgement], figures: dict[str, dict[str, str]]) -> None:
    versions = {name: importlib.metadata.version(name) for name in ("trl", "transformers", "tokenizers", "datasets")}
    rows: dict[str, dict[str, dict[str, Any]]] = {b: {} for b in BUILDERS}
    for (builder, template, dialogue), judgement in found.items():
        faults = {k: v if isinstance(v, str) else int(v) for k, v in asdict(judgement).items() if v and k != "turns"}
        rows[builder].setdefault(template, {})[dialogue] = faults or "clean"
    lines = [
        f' "{builder}": {{\n' + ",\n".join(f'  "{t}": {json.dumps(r, ensure_ascii=False)}' for t, r in of.items()) + "\n }"
        for builder, of in rows.items()
    ]
    head = json.dumps({"versions": versions | {"python": sys.version.split()[0]}, "totals": figures}, indent=1)[:-2]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(head + ',\n "rows": {\n' + ",\n".join(lines) + "\n }\n}\n", encoding="utf-8")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + page(found, figures, versions) + END + rest.partition(END)[2], encoding="utf-8")


def page(found: dict[tuple[str, str, str], Judgement], figures: dict[str, dict[str, str]], versions: dict[str, str]) -> str:
    """The tables of docs/masks.md: totals, TRL's faults by dialogue, instil's refusals by reason."""
    rows, templates = len(found) // len(BUILDERS), len({t for _, t, _ in found})
    lines = [f"{templates} templates, {rows} rows for each builder; {', '.join(f'{n} {v}' for n, v in versions.items())}.", ""]
    lines += [*line(["of these rows", *COLUMNS.values()], head=True), *(x for b, c in figures.items() for x in line([b, *c.values()])), ""]
    lines += ["Clean rows by dialogue:", "", *line(["dialogue", *BUILDERS], head=True)]
    for dialogue in dict.fromkeys(d for _, _, d in found):
        cells = [str(sum(j.clean for (b, _, d), j in found.items() if (b, d) == (builder, dialogue))) for builder in BUILDERS]
        lines += line([dialogue, *cells])
    lines += ["", "Every refusal of instil:", "", *line(["reason", "dialogues", "templates", "in its words, for one of them"], head=True)]
    reasons: dict[str, list[tuple[str, str, str]]] = {}
    for (builder, template, dialogue), judgement in found.items():
        if builder == "instil" and judgement.refused:
            code, _, words = judgement.refused.partition(": ")
            reasons.setdefault(code, []).append((template, dialogue, words))
    for code, those in reasons.items():
        words = those[0][2].replace("|", "\\|").replace("\n", " ")
        lines += line(
            [f"`{code}`", "; ".join(dict.fromkeys(d for _, d, _ in those)), ", ".join(dict.fromkeys(t for t, _, _ in those)), words]
        )
    return "\n".join(lines) + "\n"


def line(cells: Sequence[str], head: bool = False) -> list[str]:
    return [f"| {' | '.join(cells)} |"] + (["| --- " * len(cells) + "|"] if head else [])


if __name__ == "__main__":
    main()
