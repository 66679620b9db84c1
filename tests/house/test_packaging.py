"""What a stranger gets: a licence, a set of versions that works, and files that know no other machine."""

import hashlib
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from instil.core.run import PACKAGES
from tests.house.source import assert_none

# Of https://www.apache.org/licenses/LICENSE-2.0.txt, to the letter.
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def test_licence_is_apache_2(root: Path) -> None:
    assert hashlib.sha256((root / "LICENSE").read_bytes()).hexdigest() == APACHE_2


def pins(root: Path) -> dict[str, str]:
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


def test_every_dependency_is_pinned(root: Path, project: dict[str, Any]) -> None:
    extras = project["project"]["optional-dependencies"].values()
    wanted = [r for group in (project["project"]["dependencies"], *extras) for r in group]
    assert_none("not in constraints.txt", {re.split(r"[^\w-]", r)[0].replace("_", "-").lower() for r in wanted} - set(pins(root)))


def test_pins_suit_every_machine(root: Path) -> None:
    """No build of one machine (`2.13.0+cpu`), and nothing that only a CUDA machine needs."""
    narrow = [name for name, version in pins(root).items() if "+" in version or name.startswith(("nvidia", "triton", "cuda"))]
    assert_none("pins for one kind of machine", narrow)


def test_manifest_knows_the_packages_that_matter(root: Path) -> None:
    assert set(PACKAGES) - {"instil"} <= set(pins(root))


def tracked(root: Path) -> list[Path]:
    """Files that are in the repository or about to be."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=root, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [file for name in listed.stdout.split("\0") if name and (file := root / name).is_file()]


def test_no_path_of_one_machine(root: Path) -> None:
    foreign = re.compile(rb"(?<![\w.-])/(?:work|root|farm)/|(?<![\w.-])/(?:tmp|home|Users)/[a-z]")
    found = {
        f"{file.relative_to(root)}:{number}"
        for file in tracked(root)
        if file.suffix not in (".safetensors", ".parquet", ".gz", ".zst", ".npy")
        for number, line in enumerate(file.read_bytes().splitlines(), 1)
        if foreign.search(line)
    }
    assert_none("paths of one machine", found)


def test_tests_mirror_rooms(root: Path, rooms: list[str]) -> None:
    folders = {folder.name for folder in (root / "tests").iterdir() if folder.is_dir() and any(folder.glob("test_*.py"))}
    assert_none("tests of no room", folders - set(rooms) - {"house", "roads"})
