"""Verbs end to end on Ray Data: the same folders, byte for byte, as on the local engine. Skipped where Ray (an extra) is not installed."""

import json
from pathlib import Path
from typing import Any

import pytest

from instil.core.dataset import MANIFEST
from instil.core.sections import check_section
from instil.core.verbs import VERB_KNOBS, Running
from instil.stages.data_decontaminate import decontaminate_rows
from instil.stages.data_dedup import dedup_rows
from instil.stages.data_filter import filter_rows
from instil.stages.data_mix import mix_rows
from instil.stages.data_request import make_request
from instil.stages.data_run import run_verb
from instil.stages.data_score import score_rows
from instil.stages.data_select import choose_rows
from tests.stages.datasets import numbered, pair

# Ray stops threads of its own by an exception when a result is not read to its end.
pytestmark = pytest.mark.filterwarnings("default::pytest.PytestUnhandledThreadExceptionWarning")
LONG = " ".join(f"w{n}" for n in range(60))


@pytest.fixture
def files(write):
    copies = [pair(f"Tell me of {LONG} once.", f"Here is {LONG}."), pair(f"Tell me of {LONG} twice.", f"Here is {LONG}.")]
    rows = [*numbered(30, task="count"), *numbered(5), *copies, pair("Who?", "As an AI language model, I cannot answer that.")]
    leak = [pair("How many legs do a spider and three ants have when they are counted together?", "26", task="legs")]
    return {
        "rows": write("rows.jsonl", *rows, *numbered(3)),
        "more": write("more.jsonl", *numbered(20, 200, task="rare"), *leak),
        "asked": write("asked.jsonl", *leak),
    }


def chain(engine: str, folder: Path, files: dict[str, Path]) -> list[Path]:
    """Every verb that decides over rows, each on what the one before has written."""
    steps: list[tuple[str, Any, dict[str, Any]]] = [
        ("dedup", dedup_rows, {"sample": 55}),
        ("decontaminate", decontaminate_rows, {"against": {"legs": str(files["asked"])}}),
        ("filter", filter_rows, {"rule": {"refusal": {}, "language": {}}}),
        ("score", score_rows, {"target": str(files["more"])}),
        ("select", choose_rows, {"budget": "40 rows", "method": "k_center"}),
        ("mix", mix_rows, {"hold_rows": "10%", "cap": "15 rows", "budget": "30 rows"}),
    ]
    inputs, made = [str(files["rows"]), str(files["more"])], []
    for verb, decide, knobs in steps:
        section = check_section(VERB_KNOBS[verb], knobs, "the test")
        out = folder / verb
        run_verb(make_request(verb, inputs, section, Running(engine=engine, workers=1)), out, decide)
        inputs, made = [str(out)], [*made, out]
    return made


def test_ray_gives_the_same_folders(tmp_path, files, monkeypatch):
    pytest.importorskip("ray")
    written = {}
    for engine in ("local", "ray"):
        (tmp_path / engine).mkdir()
        monkeypatch.chdir(tmp_path / engine)  # paths below it are written into ledgers and rows
        for folder in chain(engine, Path("."), files):
            for file in sorted(folder.iterdir()):
                content = file.read_bytes()
                if file.name == MANIFEST:
                    manifest = json.loads(content)
                    assert manifest.pop("engine") == engine
                    content = json.dumps(manifest).encode()
                written.setdefault(f"{folder.name}/{file.name}", []).append(content)
    assert all(len(both) == 2 and both[0] == both[1] for both in written.values()), [n for n, b in written.items() if len(set(b)) > 1]
    reasons = json.loads(written["dedup/manifest.json"][0])["reasons"] | json.loads(written["filter/manifest.json"][0])["reasons"]
    assert {"exact", "near", "refusal"} <= set(reasons), "the chain had something to decide"
    assert json.loads(written["decontaminate/manifest.json"][0])["reasons"] == {"legs": 1}
