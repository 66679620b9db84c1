"""Limits of control groups, as the kernel writes them."""

from pathlib import Path

import pytest

from instil.train.limits import left_in_groups

V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/memory"
ENDLESS = 9223372036854771712


def write(root: Path, **files: object) -> Path:
    """Files under `root`; in their names two underscores stand for a slash, one for itself."""
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n", encoding="ascii")
    return root


def group(root: Path, folder: str, **files: object) -> None:
    """A group's files, with a dot behind `memory`."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (root / folder / f"memory.{name}").write_text(f"{content}\n", encoding="ascii")


def test_no_groups_at_all(tmp_path: Path) -> None:
    assert left_in_groups(tmp_path) is None
    write(tmp_path, proc__self__cgroup="0::/")
    assert left_in_groups(tmp_path) is None, "nothing mounted"


def test_version_2_in_a_container(tmp_path: Path) -> None:
    """Its own group is the top of what it sees."""
    write(tmp_path, proc__self__cgroup="0::/")
    group(tmp_path, V2, max="max", current=700)
    assert left_in_groups(tmp_path) is None
    group(tmp_path, V2, max=1000, current=700)
    assert left_in_groups(tmp_path) == 300
    group(tmp_path, V2, max=1000, current=700, high=800)
    assert left_in_groups(tmp_path) == 100, "above `high` the kernel slows a group down"


def test_pages_of_files_are_given_up(tmp_path: Path) -> None:
    """Reading a large file must not look like a full memory."""
    write(tmp_path, proc__self__cgroup="0::/")
    group(tmp_path, V2, max=1000, current=1000, stat="anon 300\ninactive_file 500\nactive_file 150\nfile 700")
    assert left_in_groups(tmp_path) == 650


def test_version_2_all_the_way_up(tmp_path: Path) -> None:
    write(tmp_path, proc__self__cgroup="0::/jobs/mine")
    group(tmp_path, f"{V2}/jobs/mine", max=1000, current=100)
    group(tmp_path, f"{V2}/jobs", max=5000, current=4500)
    group(tmp_path, V2, current=9000)
    assert left_in_groups(tmp_path) == 500, "what the group above leaves"


@pytest.mark.parametrize("controllers", ["memory", "cpu,memory"])
def test_version_1(tmp_path: Path, controllers: str) -> None:
    write(tmp_path, proc__self__cgroup=f"4:{controllers}:/box\n3:cpuset:/elsewhere\n0::/")
    group(
        tmp_path,
        f"{V1}/box",
        limit_in_bytes=2000,
        usage_in_bytes=1500,
        stat="inactive_file 1\nactive_file 1\ntotal_inactive_file 300\ntotal_active_file 50",
    )
    group(tmp_path, V1, limit_in_bytes=ENDLESS, usage_in_bytes=10**9)
    assert left_in_groups(tmp_path) == 850
    group(tmp_path, f"{V1}/box", limit_in_bytes=ENDLESS)
    assert left_in_groups(tmp_path) is None


def test_a_container_that_is_told_its_path_outside(tmp_path: Path) -> None:
    """Docker without a namespace of its own: the path does not exist here, the mounted top is the container's group."""
    write(tmp_path, proc__self__cgroup="4:memory:/docker/0a1b2c")
    group(tmp_path, V1, limit_in_bytes=2000, usage_in_bytes=500)
    assert left_in_groups(tmp_path) == 1500
    write(tmp_path, proc__self__cgroup="4:memory:/../0a1b2c")
    assert left_in_groups(tmp_path) == 1500


def test_more_used_than_allowed(tmp_path: Path) -> None:
    write(tmp_path, proc__self__cgroup="0::/")
    group(tmp_path, V2, max=1000, current=1200)
    assert left_in_groups(tmp_path) == 0
