"""The recipe: every knob of a run, declared once.

A knob is a typed field with its docstring beneath. YAML keys, `--section.key value` flags, `--help` and the reference page in docs are
made from these classes; nothing else names a knob.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, PositiveInt, field_validator, model_validator

from instil.core.amounts import parse_part
from instil.core.errors import nearest
from instil.core.ledger import ALLOWABLE

Share = Annotated[float, Field(ge=0, le=1)]
ROW = 8192
"""Tokens per row where the recipe does not say and memory suffices."""


class Knobs(BaseModel):
    """Base of all sections: frozen, unknown keys refused, docstrings are the help. `name: 7` is a name; no number is infinite."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, coerce_numbers_to_str=True, allow_inf_nan=False)


def as_sources(value: Any) -> list[Any]:
    """`data: a.jsonl`, `data: [a.jsonl, {path: b.jsonl}]` and `data: {path: a.jsonl}` as the list of mappings that they mean."""
    rows = value if isinstance(value, list) else [value]
    return [{"path": row} if isinstance(row, str) else row for row in rows]


class Source(Knobs):
    """One place that rows come from."""

    path: str
    """File, folder, glob, or `hf://owner/name[@revision][/file]` (Hugging Face hub)."""
    format: str | None = None
    """messages | alpaca | dolly | sharegpt | prompt_completion | oasst | self_instruct | super_ni | bfcl | templates. Detected, and said,
    when left out (templates never is)."""
    options: dict[str, Any] = {}
    """Options of the format, such as `few_shot: 2` or `paths: every`; docs/formats.md lists them."""
    columns: dict[str, str] = {}
    """Column map, `field that the format expects: column of the file`, for tables with other names."""
    take: str | None = None
    """Use only a part, drawn by the seed: `50%` or `500 rows`, never a bare number."""
    weight: PositiveFloat = 1.0
    """How often each row is seen per epoch: 2 = twice, 0.5 = every second epoch."""
    task: str | None = None
    """Task label for every row of this source (rows that carry their own `task` or `category` keep it)."""
    stage: PositiveInt | Literal["by row"] = 1
    """Curriculum: rows of stage 1 are shown, as often as `epochs` says, before those of stage 2, and so on. `by row`: each row's own
    `stage`, which `instil data mix` writes where a mixture has stages."""

    @field_validator("take")
    @classmethod
    def _amount(cls, value: str | None) -> str | None:
        if value is not None:
            parse_part(value)
        return value


def as_count(value: Any) -> Any:
    """`200` and `"200"` as `"200 rows"`."""
    return f"{value} rows" if re.fullmatch(r"\d+", str(value)) else value


class Holdout(Knobs):
    """What is kept away from training, chosen by content hash, so that equal prompts never stand on both sides."""

    examples: Annotated[str, BeforeValidator(as_count)] = "5%"
    """Rows to hold out, as a count or a share of all rows. 0 holds out none (and the run has no held-out loss)."""
    most: PositiveInt = 500
    """Upper bound where `examples` is a share."""
    tasks: list[str] = []
    """Task labels held out whole: the model never sees a row of them."""

    @field_validator("examples")
    @classmethod
    def _amount(cls, value: str) -> str:
        parse_part(value)
        return value


class Lora(Knobs):
    """Low-rank adapters (Hu et al. 2021), in peft's format."""

    rank: PositiveInt = 16
    """Rank of the update."""
    alpha: PositiveFloat = 32.0
    """Scale: the update is multiplied by alpha/rank (rsLoRA: alpha/sqrt(rank))."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout on the adapters' input while training."""
    targets: list[str] | Literal["all-linear"] = "all-linear"
    """Module names to adapt; all-linear is every linear layer except the head."""
    rslora: bool = False
    """Rank-stabilised scaling (Kalajdzievski 2023)."""
    dora: bool = False
    """Weight-decomposed adapters (Liu et al. 2024); slower, sometimes better at low rank."""


class Train(Knobs):
    """The loop."""

    epochs: PositiveFloat = 2.0
    """Passes over the data; fractions are fine."""
    steps: PositiveInt | None = None
    """Exactly this many steps, instead of epochs."""
    batch: PositiveInt = 64
    """Rows (conversations) per optimizer step."""
    learning_rate: PositiveFloat | None = None
    """Peak learning rate. Default: 2e-5 for full tuning, 2e-4 for LoRA."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape after warm-up; cosine and linear end at `final_share` of the peak."""
    warmup: Share = 0.03
    """Share of all steps that the learning rate rises linearly."""
    final_share: Share = 0.1
    """Learning rate at the last step, as a share of the peak."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay (AdamW), on matrices only."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """AdamW's first moment."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """AdamW's second moment."""
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """adamw_8bit: the optimizer's states in eight bits (Dettmers et al. 2022; extra `qlora`): 2 bytes per trained weight instead of 8."""
    weights: Literal["fp32", "bf16"] = "fp32"
    """Trained weights (method: full). bf16: 2 bytes instead of 4, gradients likewise; updates are rounded stochastically, so that small
    ones are not lost."""
    offload: Literal["none", "states"] = "none"
    """states: the optimizer's states lie in the machine's memory, and pass through the GPU once a step."""
    clip: PositiveFloat | None = 1.0
    """Largest gradient norm; null turns clipping off."""
    average: Literal["token", "example"] = "token"
    """What weighs equally in the loss of a step: every trained token, or every answer."""
    max_tokens: PositiveInt | None = None
    """Tokens per row of the step's tree: the unit of one forward and backward pass. Changes memory and speed, never the result. Default:
    8192, or what holds the longest example; halved until it fits the memory there is, never below max_length."""
    memory: PositiveFloat | None = None
    """GiB that each process may take, on its GPU if it has one. Default: what is free when it starts. A run that cannot fit is refused."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """bf16: autocast over fp32 weights; what a base that was stored in bf16 lacks of them is drawn (method: full), since small
    updates would be rounded away otherwise. auto: bf16 where the processor or GPU has it."""
    checkpointing: Literal["auto", "on", "off"] = "auto"
    """Recompute activations in the backward pass. auto: only where smaller rows alone do not fit the memory there is,
    and in no more layers than that takes. on: in all but the last layer, which is free."""
    compile: Literal["on", "off"] = "off"
    """Compile the decoder blocks (torch.compile; needs a C++ compiler). On two CPU cores 4 % faster steps, after half a minute at the
    start; meant for GPUs."""
    packing: Literal["auto", "tree", "alone"] = "auto"
    """tree: shared prefixes computed once; alone: one example per pass. auto: tree, or alone, said aloud, where the probe finds that the
    architecture cannot be packed."""
    neftune: Annotated[float, Field(ge=0)] = 0.0
    """NEFTune (Jain et al. 2023): uniform noise on the embeddings while training; 5 is usual, 0 is off."""
    evaluate_every: PositiveInt | None = None
    """Steps between held-out losses. Default: ten times per run."""
    checkpoint_every: PositiveInt | None = None
    """Steps between checkpoints. Default: with every held-out loss."""
    keep: Literal["last", "best"] = "last"
    """Which weights become the run's model: the last step's, or those with the lowest held-out loss."""
    parallel: Literal["auto", "data", "fsdp"] = "auto"
    """What ranks share besides the work, where there are several (torchrun, `instil train --gpus`). data: nothing, each holds all weights;
    fsdp: weights, gradients and optimizer states are divided among them (FSDP2). auto: fsdp where one GPU has no room for them."""
    shard_ranks: PositiveInt | None = None
    """fsdp: over how many neighbouring ranks weights are divided; such groups hold copies of each other. Default: over all ranks."""
    timeout: PositiveFloat = 30.0
    """Minutes without a finished step, held-out loss or checkpoint after which a run of several ranks ends, and says which rank hangs."""
    threads: PositiveInt | None = None
    """CPU threads. Default: all cores."""
    tensorboard: bool = False
    """Also write TensorBoard events (extra `track`)."""

    @property
    def computed_in(self) -> str:
        """The precision wanted: `precision`, or that of weights in bf16."""
        return "bf16" if self.weights == "bf16" else self.precision

    @model_validator(mode="after")
    def _one_length(self) -> "Train":
        if self.steps is not None and "epochs" in self.model_fields_set:
            raise ValueError("epochs and steps both say how long to train: keep one")
        return self


class Evaluate(Knobs):
    """What a finished run is asked, and how sure the answer must be. `evaluate: none` leaves it out."""

    samples: Annotated[str, BeforeValidator(as_count)] = "200 rows"
    """Prompts per suite, drawn by content hash from those that there are: a count or a share."""
    suites: list[str] | None = None
    """Suites to run: heldout, unseen_tasks, stop, regression, ... Default: all that apply; none at all is `evaluate: none`."""
    sets: dict[str, str] = {}
    """Further evaluation sets, `name: file` in any format that training data has; each becomes a suite of its name."""
    cloze: str | None = None
    """What the base model should still know: a JSONL file of {"text", "answer"} and optionally "task". Default: facts that are built in."""
    text: str | None = None
    """Plain text on which bits per byte are measured, before and after. Default: text that is built in."""
    examples: Annotated[int, Field(ge=0)] = 3
    """Worked examples in the prompt of the base model's third arm, drawn from the training rows nearest in words."""
    max_new_tokens: PositiveInt | None = None
    """Longest answer. Default: half again as long as the longest reference of the prompt's task, from 24 to 256 tokens."""
    margin: PositiveFloat = 0.03
    """What may be lost and still count as kept: 0.03 is three points."""
    seed: int = 0
    """Draws the prompts, and whatever else a suite draws."""
    judge: str | None = None
    """Address of an OpenAI-compatible endpoint that judges answers in pairs, such as http://localhost:8000/v1. Default: no judge."""
    judge_model: str | None = None
    """Name of the model that judges."""
    judge_key_env: str | None = None
    """Environment variable that holds the endpoint's key."""

    @field_validator("samples")
    @classmethod
    def _amount(cls, value: str) -> str:
        parse_part(value)
        return value

    @property
    def wanted(self) -> bool:
        """False for `evaluate: none`."""
        return self.suites != []


def as_evaluate(value: Any) -> Any:
    """`none` as the section that asks for no suite."""
    return {"suites": []} if value == "none" else value


class Recipe(Knobs):
    """A run, whole."""

    model: str
    """Base model: a folder in Hugging Face's layout, or a hub id such as Qwen/Qwen3-0.6B-Base."""
    data: list[Source] = Field(min_length=1)
    """Where the rows come from."""
    name: str | None = None
    """Name of the run's folder. Default: the recipe's file name."""
    runs: str = "runs"
    """Folder that holds the runs."""
    template: str = "own"
    """own (the tokenizer's) | chatml | alpaca | zephyr | llama3 | path/to/template.jinja"""
    template_options: dict[str, Any] = {}
    """Variables for the template, for training and serving alike, e.g. enable_thinking: false."""
    system: str | None = None
    """System message for conversations that have none."""
    train_on: Literal["all", "last"] = "all"
    """Assistant turns that are trained: all of them, or each conversation's last."""
    max_length: PositiveInt | None = None
    """Longest example in tokens. Default: the model's context, at most 4096."""
    overlong: Literal["shorten", "refuse"] = "shorten"
    """Examples beyond max_length: leave out whole leading turns (never the system prompt, never a part of an answer), or refuse them."""
    control_tokens: Literal["refuse", "escape"] = "refuse"
    """Text that contains a control token's string: refuse the row, or encode it as plain text (in serving, too)."""
    duplicates: Literal["drop", "keep"] = "drop"
    """Rows equal to an earlier row, to the letter."""
    allow: list[str] = []
    """Refusals to override, by reason code; the manifest and the report will say so."""
    holdout: Holdout = Holdout()
    """What is never trained."""
    method: Literal["full", "lora", "qlora"] = "full"
    """full: all weights. lora: adapters. qlora: adapters on a base in four bits (Dettmers et al. 2023; extra `qlora`), for small cards."""
    lora: Lora = Lora()
    """Adapters (method: lora, qlora)."""
    train: Train = Train()
    """The loop."""
    evaluate: Annotated[Evaluate, BeforeValidator(as_evaluate)] = Evaluate()
    """The verdict that a run ends with; `none` leaves it out."""
    seed: int = 0
    """Fixes data order, splits and every random number."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Read it first."""

    @field_validator("data", mode="before")
    @classmethod
    def _paths(cls, value: Any) -> Any:
        return as_sources(value)

    @field_validator("allow")
    @classmethod
    def _codes(cls, value: list[str]) -> list[str]:
        for code in value:
            if code not in ALLOWABLE:
                raise ValueError(f"'{code}' is not a refusal that can be allowed; {nearest(code, ALLOWABLE)}")
        return value

    @model_validator(mode="after")
    def _weights(self) -> "Recipe":
        if self.train.weights == "bf16" and self.method != "full":
            raise ValueError(f"train.weights: bf16 is for method: full, and the adapters of {self.method} are small: leave it out")
        if self.train.weights == "bf16" and self.train.precision == "fp32":
            raise ValueError("train.weights: bf16 cannot be computed with in fp32: leave one of train.weights and train.precision out")
        return self

    @property
    def learning_rate(self) -> float:
        return self.train.learning_rate or (2e-5 if self.method == "full" else 2e-4)
