"""The command line: one short file per verb, imported only when that verb is called."""

import errno
import importlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import click

from instil import __version__
from instil.core.errors import UserError, nearest

# verb -> what it does, in a line. `instil --help` must not import what the verbs need.
VERBS = {
    "demo": "See the whole way in two minutes: the built-in base model, tuned, evaluated, compared. Needs no network and no GPU.",
    "inspect": "Show the exact tokens, trained parts, stop tokens and fate of every row. Needs no GPU, loads no model.",
    "plan": "Say what a run will need: parameters, memory by part, time, money; and what fits. Loads no weights.",
    "data": "Validate, clean, deduplicate, decontaminate, select and mix rows, and say of each what became of it.",
    "review": "Show rows to people: accept, reject, edit, comment; say how far they agree; apply it.",
    "train": "Tune a model as a recipe says, or continue a run.",
    "evaluate": "Say whether tuning worked: a run against its base model, with intervals; or any model on a file.",
    "compare": "Say which of two runs answers better, on the same prompts.",
    "release": "Export a tuned model (Hugging Face, GGUF, Ollama, LM Studio) and prove that each export answers as it does.",
    "serve": "Serve a run or a model to OpenAI's clients, with the prompts that were trained, and a page to chat on.",
    "chat": "Talk to a run or a model in the terminal.",
}


class Verbs(click.Group):
    """A group whose commands are imported only when they are called. `verbs`: name -> what it does, in a line; `load`: name -> command;
    `spoken`: how the group is called in a sentence."""

    def __init__(self, *args: Any, verbs: Mapping[str, str], load: Callable[[str], click.Command], spoken: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.verbs, self.load, self.spoken = verbs, load, spoken

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self.load(cmd_name) if cmd_name in self.verbs else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.verbs:
            raise UserError(f"{self.spoken} has no verb '{args[0]}'; {nearest(args[0], self.verbs)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(self.verbs.items()))


def _load(verb: str) -> click.Command:
    command: click.Command = importlib.import_module(f"instil.cli.{verb}").command
    return command


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(cls=Verbs, verbs=VERBS, load=_load, spoken="instil", context_settings=_SETTINGS)
@click.version_option(__version__, prog_name="instil")
def app() -> None:
    """Turn a base language model into an assistant that follows instructions.

    \b
    First steps:
      instil inspect --model MODEL --data rows.jsonl     look at what would be trained
      instil train --model MODEL --data rows.jsonl       tune
      instil chat runs/run                               talk to it
    """


def main(args: list[str] | None = None) -> Any:
    """Run the command line. A UserError is one sentence on stderr and exit code 2; Ctrl-C is 130, a reader that has gone 141."""
    for stream in (sys.stdout, sys.stderr, sys.stdin):  # no character that a terminal cannot show, or a pipe should not hold, ends a run
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)  # asks, whenever peft is imported, for what only a hub has
    warnings.filterwarnings("ignore", message="Attempting to run cuBLAS, but there was no current CUDA context")  # the first backward pass
    try:
        return app(args, standalone_mode=False)
    except UserError as error:
        click.echo(f"error: {error}", err=True)
    except click.ClickException as error:
        error.show()
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        _forget_output()
        sys.exit(141)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _forget_output()
        click.echo("error: no space left on the disk that takes the output: free some, then start again", err=True)
    sys.exit(2)


def _forget_output() -> None:
    """Python would try to write what is left at exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
