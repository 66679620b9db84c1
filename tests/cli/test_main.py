"""Exit codes, and what a run leaves on the terminal when something is wrong outside of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import instil.cli
from instil.core.errors import UserError
from tests.fakes import alpaca_rows, write_model, write_rows


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, rows, and a cache in which its tokenizer is set up."""
    folder = tmp_path_factory.mktemp("house")
    write_model(folder / "model")
    write_rows(folder / "rows.jsonl", alpaca_rows())
    return folder


@pytest.fixture
def inspect(house: Path, instil):
    """inspect("--row", 3, stdout=...): in a process of its own."""

    def inspect(*arguments: object, **options: object):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "INSTIL_CACHE": str(house / "cache"), **options.pop("env", {})}
        return instil("inspect", "--model", house / "model", "--data", house / "rows.jsonl", *arguments, env=environment, **options)

    return inspect


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["trian"], "error: instil has no verb 'trian'; did you mean 'train'?\n"),
        (["inspect"], "error: no recipe: give a YAML file, or at least --model and --data; `--help` lists every knob\n"),
        (["inspect", "a.yaml", "b.yaml"], "error: one recipe at a time, not a.yaml and b.yaml: give knobs as --section.key value\n"),
        (["train", "absent.yaml"], "error: recipe absent.yaml does not exist: check the path, or see `instil train --help`"),
        (["train", "--model", "m"], "error: the command line: 'data' is missing: Where the rows come from\n"),
        (["train", "--model", "m", "--data", "d", "--train.bach", "3"], "error: --train.bach: unknown key 'bach' in train; did you mean"),
        (
            ["train", "--resume", "r", "a.yaml"],
            "error: --resume continues a run under its own recipe: leave out the recipe and other flags\n",
        ),
        (["train", "--resume", "r", "--train.batch", "3"], "error: --resume continues a run under its own recipe"),
        (["train", "--resume", "."], "error: . is not a run folder (no recipe.yaml in it)"),
        (["inspect", "--model", "./m", "--data", "d"], "error: model folder ./m does not exist: check the path"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_exit_code_2(here, arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = here(*arguments)
    assert (code, out) == (2, "") and err.startswith(sentence) and err.count("\n") == 1
    assert not list(tmp_path.iterdir()), "nothing was written"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["inspect", "--row", "x"], "Invalid value for '--row': 'x' is not a valid integer"),
        (["inspect", "--rows", "-1"], "Invalid value for '--rows'"),
        (["chat"], "Missing argument 'RUN|MODEL'"),
        (["chat", "m", "--temperature", "-1"], "Invalid value for '--temperature'"),
        (["--nope"], "No such option '--nope'"),
    ],
)
def test_what_click_refuses(here, arguments, sentence):
    code, out, err = here(*arguments)
    assert (code, out) == (2, "") and sentence in err and "Traceback" not in err


def test_our_own_bugs_are_not_hidden(here, monkeypatch):
    def bug(args):
        raise AssertionError("our bug")

    monkeypatch.setattr("instil.cli.inspect.recipe_from", bug)
    with pytest.raises(AssertionError, match="our bug"):
        here("inspect", "x")


@pytest.mark.parametrize(
    ("error", "code"),
    [(UserError("x: mend it"), 2), (KeyboardInterrupt(), 130), (OSError(28, "No space left on device"), 2)],
)
def test_how_a_verb_may_end(monkeypatch, here, error, code):
    def raises(args):
        raise error

    monkeypatch.setattr("instil.cli.inspect.recipe_from", raises)
    monkeypatch.setattr(instil.cli, "_forget_output", lambda: None)
    found, _, err = here("inspect", "x")
    assert found == code and err.count("error: ") == (code == 2)


def test_other_errors_propagate(monkeypatch, here):
    monkeypatch.setattr("instil.cli.inspect.recipe_from", lambda args: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(OSError, match="Input/output error"):
        here("inspect", "x")


@pytest.mark.parametrize(("finished", "code"), [(True, 0), (False, 130)])
def test_a_run_that_a_signal_ended_is_no_success(monkeypatch, here, finished, code):
    from instil.stages import tune as stage

    outcome = stage.Outcome(Path("runs/x"), finished, 3, None, None, None)
    monkeypatch.setattr(stage, "tune", lambda recipe, console: outcome)
    assert here("train", "--model", "m", "--data", "d")[0] == code
    monkeypatch.setattr(stage, "resume_run", lambda path, console: outcome)
    assert here("train", "--resume", "runs/x")[0] == code


def test_inspect_in_a_pipe(inspect, tmp_path):
    done = inspect("--html", "look.html", "--holdout.examples", "5")
    assert done.returncode == 0 and not done.stderr
    assert "40 rows: 35 kept, 0 refused, 5 held out" in done.stdout and "\x1b" not in done.stdout
    assert (tmp_path / "look.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_recipe_and_flags_together(house, instil, tmp_path):
    (tmp_path / "r.yaml").write_text(json.dumps({"model": str(house / "model"), "data": str(house / "rows.jsonl")}), encoding="utf-8")
    environment = os.environ | {"INSTIL_CACHE": str(house / "cache")}
    done = instil("inspect", "r.yaml", "--holdout.examples=7", "--row", "2", "--no-tree", "--data.0.take", "20 rows", env=environment)
    assert "40 rows: 13 kept, 0 refused, 7 held out, 20 not taken" in done.stdout and "\nrow       2 · " in done.stdout
    assert "tree" not in done.stdout


def test_a_reader_that_goes_is_no_error(inspect):
    """`instil inspect ... | head -1`: no traceback, and the exit code of a program that SIGPIPE ended."""
    with subprocess.Popen(["head", "-n", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as head:
        done = inspect("--train.batch", "40", stdout=head.stdin, stderr=subprocess.PIPE, capture_output=False)
        head.stdin.close()
        assert head.stdout.read().count("\n") == 1
    assert done.returncode in (0, 141), done.stderr  # 0 where everything was written before the reader went
    assert not done.stderr


def test_a_reader_that_is_gone_from_the_start(inspect):
    read, write = os.pipe()
    os.close(read)
    done = inspect(stdout=write, stderr=subprocess.PIPE, capture_output=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_to_a_full_disk_is_a_sentence(inspect):
    with open("/dev/full", "w") as full:
        done = inspect(stdout=full, stderr=subprocess.PIPE, capture_output=False)
    sentence = "error: no space left on the disk that takes the output: free some, then start again\n"
    assert (done.returncode, done.stderr) == (2, sentence)


def test_a_terminal_that_knows_only_ascii(inspect):
    done = inspect("--no-tree", env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and "\\u27e6" in done.stdout and "40 rows" in done.stdout


def test_ctrl_c_is_130_without_a_traceback():
    code = """
import os, signal, sys
from instil.cli import main
import instil.stages.look as look
look.prepare = lambda *arguments: os.kill(os.getpid(), signal.SIGINT) or input()
sys.argv = ["instil", "inspect", "--model", "m", "--data", "d"]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr.strip()) == (130, "")
