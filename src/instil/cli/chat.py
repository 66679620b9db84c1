"""`instil chat RUN`: talk to a run or a model in the terminal."""

import contextlib
import json
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from instil.core.errors import UserError, nearest
from instil.core.values import Message

if TYPE_CHECKING:
    from rich.console import Console

    from instil.stages.talk import Assistant

COMMANDS = {
    "/system": "TEXT  set the system message (nothing: remove it), and start over",
    "/reset": "forget the conversation",
    "/compare": "answer from here on with the base and the tuned model side by side, or stop doing so",
    "/save": "FILE  append the conversation to a JSONL file that `instil train` reads",
    "/help": "this list",
    "/quit": "leave (or Ctrl-D)",
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", metavar="RUN|MODEL")
@click.option("--system", metavar="TEXT", help="System message.")
@click.option("--compare", is_flag=True, help="Start with base and tuned model side by side.")
@click.option("--temperature", type=click.FloatRange(0), default=0.0, show_default=True, help="0: always the likeliest token.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True, help="Nucleus sampling.")
@click.option("--max-tokens", type=click.IntRange(1), default=512, show_default=True, help="Longest answer.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sampling.")
@click.option("--trust-remote-code", is_flag=True, help="Run Python code that comes with the model. Read it first.")
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    system: str | None,
    compare: bool,
    temperature: float,
    top_p: float,
    max_tokens: int,
    seed: int,
    trust_remote_code: bool,
) -> None:
    """Talk to RUN (a folder that `instil train` made) or to any MODEL (folder or hub id), with the prompts that were trained.

    Lines that begin with / are commands; /help lists them. From a pipe, every line is the next message of one conversation, answers go to
    stdout and everything else to stderr; the exit code is 2 if a line could not be answered.

    \b
      echo "Name three colours." | instil chat runs/first
    """
    from instil.cli.terminal import is_interactive, output, remarks  # rich, which `--help` does without
    from instil.stages.talk import Sampling, load  # imports torch

    screen = Screen(output(), remarks(), is_interactive())
    assistant = load(model, sampling=Sampling(temperature, top_p, max_tokens, seed), trust_remote_code=trust_remote_code)
    if assistant.contract is None:
        screen.remark("This is a raw base model without a chat template: it continues text, it does not answer.", "yellow")
    elif screen.interactive:
        with contextlib.suppress(ImportError):  # not on Windows
            import readline  # noqa: F401 - gives `input` arrow keys and a history
        screen.remark(f"template {assistant.contract.name} · /help lists commands")
    if talk(assistant, Talk(system=system, compare=compare), screen) and not screen.interactive:
        ctx.exit(2)


@dataclass(frozen=True)
class Screen:
    """Where answers and remarks go, and whether somebody sits there."""

    out: "Console"
    remarks: "Console"
    interactive: bool

    def remark(self, text: str, style: str = "dim") -> None:
        self.remarks.print(text, style=style, markup=False, emoji=False, soft_wrap=True)

    def piece(self, text: str) -> None:
        """A part of an answer, as it is; a terminal is not given control characters, which it would obey."""
        from instil.stages.say import harmless  # rich

        self.out.out(harmless(text) if self.out.is_terminal else text, end="", highlight=False)
        self.out.file.flush()


@dataclass(frozen=True)
class Talk:
    """Where a conversation stands."""

    messages: tuple[Message, ...] = ()
    system: str | None = None
    compare: bool = False

    def sent(self) -> list[Message]:
        return [*([Message(role="system", content=self.system)] if self.system else []), *self.messages]


def talk(assistant: "Assistant", state: Talk, screen: Screen) -> int:
    """Read lines until the end of input. Returns how many could not be answered or obeyed."""
    failed = 0
    while True:
        try:
            line = input("> " if screen.interactive else "").strip()
        except EOFError:
            return failed
        try:
            if line.startswith("/"):
                changed = obey(line, state, assistant, screen)
                if changed is None:
                    return failed
                state = changed
            elif line:
                state = answer(assistant, state, line, screen)
        except UserError as error:
            failed += 1
            screen.remark(f"error: {error}", "red")
        except KeyboardInterrupt:
            if not screen.interactive:
                raise
            screen.remark("\n(interrupted: this question and answer are forgotten)")


def answer(assistant: "Assistant", state: Talk, line: str, screen: Screen) -> Talk:
    """One exchange. A raw base model is given the line alone, to continue."""
    asked = replace(state, messages=(*state.messages, Message(role="user", content=line)))
    if assistant.contract is None:
        _print_stream(assistant, [Message(role="user", content=line)], screen)
        return state
    shown = _print_both if state.compare else _print_stream
    text = shown(assistant, asked.sent(), screen)
    return replace(asked, messages=(*asked.messages, Message(role="assistant", content=text)))


def _print_stream(assistant: "Assistant", messages: list[Message], screen: Screen) -> str:
    text, end = "", yield_from(assistant.stream(messages))
    for piece in end.pieces():
        text += piece
        screen.piece(piece)
    screen.out.out("")
    return text
