"""What all rooms' tests need: two threads, no network, and no GPU tests where there is no GPU."""

import os

import pytest

# Read once, when the libraries are first imported: so here, and without importing them (many tests never need torch).
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not on_gpu:
        return
    import torch  # only here: it takes seconds, and most selections of tests do without

    if not torch.cuda.is_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
