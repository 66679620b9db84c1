"""`instil chat RUN`: talk to a run or a model in the terminal."""

import contextlib
import json
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from instil.core.errors import UserError, nearest
from instil.core.values import Message

if TYPE_CHECKING:
    from instil.cli.terminal import Screen
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
def command(
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
    from instil.cli.terminal import screen as open_screen  # rich, which `--help` does without
    from instil.stages.talk import Sampling, load  # imports torch

    screen = open_screen()
    assistant = load(model, sampling=Sampling(temperature, top_p, max_tokens, seed), trust_remote_code=trust_remote_code)
    if assistant.contract is None:
        screen.remark("This is a raw base model without a chat template: it continues text, it does not answer.", "yellow")
    elif screen.interactive:
        screen.remark(f"template {assistant.contract.name} · /help lists commands")
    if screen.interactive:
        with contextlib.suppress(ImportError):  # not on Windows
            import readline  # noqa: F401 (gives `input` arrow keys and a history)
    if talk(assistant, Talk(system=system, compare=compare), screen) and not screen.interactive:
        sys.exit(2)


@dataclass(frozen=True)
class Talk:
    """Where a conversation stands."""

    messages: tuple[Message, ...] = ()
    system: str | None = None
    compare: bool = False

    def sent(self) -> list[Message]:
        return [*([Message(role="system", content=self.system)] if self.system else []), *self.messages]


def talk(assistant: "Assistant", state: Talk, screen: "Screen") -> int:
    """Read lines until the end of input. Returns how many could not be answered or obeyed."""
    failed = 0
    while True:
        try:
            line = input("> " if screen.interactive else "").strip()
        except EOFError:
            if screen.interactive:
                screen.remark("")  # the shell's prompt belongs on a line of its own
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


def answer(assistant: "Assistant", state: Talk, line: str, screen: "Screen") -> Talk:
    """One exchange. A raw base model is given the line alone, to continue."""
    asked = replace(state, messages=(*state.messages, Message(role="user", content=line)))
    if assistant.contract is None:
        _print_stream(assistant, [Message(role="user", content=line)], screen)
        return state
    shown = _print_both if state.compare else _print_stream
    text = shown(assistant, asked.sent(), screen)
    return replace(asked, messages=(*asked.messages, Message(role="assistant", content=text)))


def _print_stream(assistant: "Assistant", messages: list[Message], screen: "Screen") -> str:
    text, pieces = "", assistant.stream(messages)
    while True:
        try:
            piece = next(pieces)
        except StopIteration as end:
            screen.piece("", end="\n")
            if end.value == "length":
                screen.remark("(cut: --max-tokens, or the model's context, is used up)")
            return text
        text += piece
        screen.piece(piece)


def _print_both(assistant: "Assistant", messages: list[Message], screen: "Screen") -> str:
    with assistant.as_base() as base:
        before = base.chat(messages).content
    after = assistant.chat(messages).content
    screen.side_by_side({"base": before, "tuned": after})
    return after


def obey(line: str, state: Talk, assistant: "Assistant", screen: "Screen") -> Talk | None:
    """Carry out a command. None: leave."""
    name, _, rest = line.partition(" ")
    rest = rest.strip()
    if name == "/quit":
        return None
    if name == "/reset":
        screen.remark("forgotten")
        return replace(state, messages=())
    if name == "/system":
        screen.remark("system message set" if rest else "no system message")
        return Talk(system=rest or None, compare=state.compare)
    if name == "/compare":
        with assistant.as_base():  # says at once if there is nothing to compare with
            screen.remark("tuned model alone" if state.compare else "base and tuned model side by side")
        return replace(state, compare=not state.compare)
    if name == "/save":
        save(rest, state)
        screen.remark(f"saved {len(state.sent())} messages to {rest}")
        return state
    if name == "/help":
        for known, text in COMMANDS.items():
            screen.remark(f"{known:<9} {text}")
        return state
    raise UserError(f"no command {name}; {nearest(name, COMMANDS)}")


def save(path: str, state: Talk) -> None:
    """Append the conversation as one JSONL row in the `messages` format."""
    if not path:
        raise UserError("/save needs a file name, e.g. /save talks.jsonl")
    if not state.messages:
        raise UserError("there is no answer to save yet: ask something first")
    row = {"messages": [{"role": m.role, "content": m.content} for m in state.sent()]}
    try:
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): choose another file") from None
