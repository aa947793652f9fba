"""A tiny decoder that answers questions with any capital, and people who prefer some."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a decoder that has learnt to answer with one word, any capital."""
    import torch
    import toys

    torch.set_num_threads(1)
    return toys.taught(tmp_path_factory.mktemp("taught"))
