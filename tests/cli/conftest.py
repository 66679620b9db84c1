"""The command line in a process of its own, and in this one."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from instil.cli import main

Ran = subprocess.CompletedProcess[str]


@pytest.fixture
def instil(tmp_path: Path) -> Callable[..., Ran]:
    """instil("inspect", "--help") -> what came of it, in a process that starts in `tmp_path`."""

    def instil(*arguments: object, **options: object) -> Ran:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "INSTIL_CACHE": str(tmp_path / "cache"), "COLUMNS": "100"}
        given = {"capture_output": True, "text": True, "encoding": "utf-8", "timeout": 120, "cwd": tmp_path, "env": environment}
        return subprocess.run([sys.executable, "-m", "instil", *map(str, arguments)], check=False, **given | options)

    return instil


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """here("inspect", "--help") -> (exit code, stdout, stderr), in this process, which has imported everything before."""

    def here(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["instil", *map(str, arguments)])
        try:
            code = main() or 0
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return here
