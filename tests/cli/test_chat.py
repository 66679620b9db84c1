"""Talking: every command, what is remembered of it, and that no mistake ends the conversation."""

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import pytest
from rich.console import Console

from instil.cli.chat import COMMANDS, Talk, save, talk
from instil.cli.terminal import Screen
from instil.core.errors import UserError
from instil.core.values import Message


class Echo:
    """An assistant that says what it was sent: `role: content | ...`, in two pieces; as base, in capitals."""

    contract: object = "a contract"

    def __init__(self, base: bool = True, end: str = "stop"):
        self.sent: list[list[Message]] = []
        self.has_base, self.end = base, end

    def stream(self, messages: Sequence[Message]) -> Iterator[str]:
        self.sent.append(list(messages))
        text = " | ".join(f"{m.role}: {m.content}" for m in messages)
        if "interrupt" in messages[-1].content:
            yield "half"
            raise KeyboardInterrupt
        if "fail" in messages[-1].content:
            raise UserError("the conversation has 300 tokens, the model takes 256")
        yield text[:3]
        yield text[3:]
        return self.end

    def chat(self, messages: Sequence[Message]) -> Message:
        return Message(role="assistant", content="".join(self.stream(messages)))

    @contextlib.contextmanager
    def as_base(self) -> "Iterator[Echo]":
        if not self.has_base:
            raise UserError("there is no base model to compare with")
        yield Shouting()


class Shouting(Echo):
    def stream(self, messages: Sequence[Message]) -> Iterator[str]:
        yield from (piece.upper() for piece in super().stream(messages))


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, str, int]]:
    """say(assistant, "line", ...) -> (answers, remarks, failures)."""

    def say(assistant: Echo, *lines: str, interactive: bool = True, terminal: bool = False, **state: object) -> tuple[str, str, int]:
        waiting = iter(lines)

        def line(prompt: str = "") -> str:
            try:
                return next(waiting)
            except StopIteration:
                raise EOFError from None

        monkeypatch.setattr("builtins.input", line)
        out, err = io.StringIO(), io.StringIO()
        screen = Screen(Console(file=out, width=60, force_terminal=terminal, color_system=None), Console(file=err, width=60), interactive)
        failed = talk(assistant, Talk(**state), screen)
        assert next(waiting, None) is None or "/quit" in lines, "the conversation ended early"
        return out.getvalue(), err.getvalue().removesuffix("\n" if interactive and "/quit" not in lines else ""), failed

    return say


def test_a_conversation_is_remembered(say):
    answers, remarks, failed = say(Echo(), "Hi", "", "  Ho  ")
    assert answers == "user: Hi\nuser: Hi | assistant: user: Hi | user: Ho\n"
    assert (remarks, failed) == ("", 0)


def test_reset_forgets(say):
    answers, remarks, _ = say(Echo(), "Hi", "/reset", "Ho", system="S")
    assert answers == "system: S | user: Hi\nsystem: S | user: Ho\n" and remarks == "forgotten\n"


def test_a_system_message_starts_over(say):
    answers, remarks, _ = say(Echo(), "Hi", "/system Be brief: yes", "Ho", "/system", "Hm")
    assert answers == "user: Hi\nsystem: Be brief: yes | user: Ho\nuser: Hm\n"
    assert remarks == "system message set\nno system message\n"


def test_compare_shows_both_and_remembers_the_tuned_one(say):
    echo = Echo()
    answers, remarks, _ = say(echo, "/compare", "Hi", "/compare", "Ho")
    assert answers == "base: USER: HI\ntuned: user: Hi\nuser: Hi | assistant: user: Hi | user: Ho\n"
    assert remarks == "base and tuned model side by side\ntuned model alone\n"


def test_side_by_side_on_a_terminal(say):
    answers, _, _ = say(Echo(), "Hi [bold]x[/bold] :cat:", compare=True, terminal=True)
    header, row = (line for line in answers.splitlines() if "base" in line or "HI" in line)
    assert header.split() == ["base", "│", "tuned"]
    assert [cell.strip() for cell in row.split("│")] == ["USER: HI [BOLD]X[/BOLD]", "user: Hi [bold]x[/bold]"]
    assert ":CAT:" in answers and ":cat:" in answers


def test_nothing_to_compare_with(say):
    answers, remarks, failed = say(Echo(base=False), "/compare", "Hi")
    assert answers == "user: Hi\n" and remarks == "error: there is no base model to compare with\n" and failed == 1


def test_conversations_are_saved_as_rows_for_training(say, tmp_path):
    file = tmp_path / "talks.jsonl"
    _, remarks, _ = say(Echo(), "Hi é", f"/save {file}", "/reset", "Ho", f"/save {file}", system="S")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    turns = [[(m["role"], m["content"]) for m in row["messages"]] for row in rows]
    assert turns == [[("system", "S"), ("user", asked), ("assistant", f"system: S | user: {asked}")] for asked in ("Hi é", "Ho")]
    assert remarks == f"saved 3 messages to {file}\nforgotten\nsaved 3 messages to {file}\n"

    from instil.core.recipe import Source
    from instil.data.source import read_source

    items = list(read_source(Source(path=str(file)), lambda _: None, 0))
    assert [item.conversation.messages[1].content for item in items] == ["Hi é", "Ho"]


def test_what_cannot_be_saved(say, tmp_path):
    _, remarks, failed = say(Echo(), "/save", f"/save {tmp_path / 'a'}", "Hi", f"/save {tmp_path}", "/save /no/such/folder/a")
    assert failed == 4
    assert remarks.splitlines() == [
        "error: /save needs a file name, e.g. /save talks.jsonl",
        "error: there is no answer to save yet: ask something first",
        f"error: {tmp_path} cannot be written (Is a directory): choose another file",
        "error: /no/such/folder/a cannot be written (No such file or directory): choose another file",
    ]
    assert not list(tmp_path.iterdir())


def test_help_lists_every_command(say):
    answers, remarks, failed = say(Echo(), "/help")
    assert not answers and not failed
    assert [line.split()[0] for line in remarks.splitlines()] == list(COMMANDS)


def test_every_command_is_obeyed(say, tmp_path):
    for name in COMMANDS:
        _, remarks, _ = say(Echo(), "Hi", f"{name} {tmp_path / 'x'}" if name == "/save" else name)
        assert "no command" not in remarks


def test_quit_leaves_at_once(say):
    assert say(Echo(), "/quit", "Hi") == ("", "", 0)


def test_unknown_commands(say):
    answers, remarks, failed = say(Echo(), "/rest", "/etc/passwd", "Hi")
    assert answers == "user: Hi\n" and failed == 2
    assert remarks.startswith("error: no command /rest; did you mean '/reset'?\nerror: no command /etc/passwd; ")


def test_an_error_does_not_end_the_conversation_and_is_not_remembered(say):
    answers, remarks, failed = say(Echo(), "Hi", "fail", "Ho")
    assert answers == "user: Hi\nuser: Hi | assistant: user: Hi | user: Ho\n"
    assert remarks == "error: the conversation has 300 tokens, the model takes 256\n" and failed == 1


def test_ctrl_c_during_an_answer(say):
    answers, remarks, failed = say(Echo(), "Hi", "interrupt me", "Ho")
    assert answers == "user: Hi\nhalfuser: Hi | assistant: user: Hi | user: Ho\n" and failed == 0
    assert remarks == "\n(interrupted: this question and answer are forgotten)\n"
    with pytest.raises(KeyboardInterrupt):
        say(Echo(), "interrupt me", interactive=False)


def test_an_answer_that_was_cut_is_said_to_be(say):
    answers, remarks, _ = say(Echo(end="length"), "Hi")
    assert answers == "user: Hi\n" and remarks == "(cut: --max-tokens, or the model's context, is used up)\n"


def test_a_raw_base_model_continues_each_line_alone(say):
    base = Echo()
    base.contract = None
    answers, _, _ = say(base, "Once", "upon", system="S")
    assert answers == "user: Once\nuser: upon\n"


def test_a_terminal_obeys_no_model(say):
    evil = "\x1b[31m \x07 [bold] :cat: a\ttab"
    assert say(Echo(), evil, terminal=True)[0] == "user: ␛[31m ␇ [bold] :cat: a\ttab\n"
    assert say(Echo(), evil)[0] == f"user: {evil}\n", "a pipe gets the answer to the letter"


def test_save_keeps_what_is_there(tmp_path):
    (tmp_path / "a.jsonl").write_text("{}\n")
    save(str(tmp_path / "a.jsonl"), Talk((Message(role="user", content="\ud83d"),)))
    assert (tmp_path / "a.jsonl").read_text().splitlines() == ["{}", '{"messages": [{"role": "user", "content": "\\ud83d"}]}']


@pytest.mark.parametrize(("lines", "code"), [("Hi\nHo\n", 0), ("Hi\n/nope\nHo\n", 2), ("", 0), ("caf\udce9\n", 0)])
def test_answers_go_to_stdout_and_all_else_to_stderr(lines, code):
    """The verb itself, in a pipe, with an echo for a model (and so without torch); the last line is not UTF-8."""
    program = """
import sys, types
from tests.cli.test_chat import Echo
load = lambda model, sampling, trust_remote_code: Echo()
sys.modules["instil.stages.talk"] = types.SimpleNamespace(load=load, Sampling=lambda temperature, top_p, max_tokens, seed: None)
sys.argv = ["instil", "chat", "runs/x"]
from instil.cli import main
main()
"""
    given = lines.encode("utf-8", "surrogateescape")
    done = subprocess.run([sys.executable, "-c", program], input=given, capture_output=True, check=False)
    answers, remarks = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == code, remarks
    assert answers.startswith("user: Hi\nuser: Hi | assistant") or "Hi" not in lines
    assert ("error: no command /nope" in remarks) == (code == 2) and ("caf" not in lines or answers == "user: caf\\xe9\n")
