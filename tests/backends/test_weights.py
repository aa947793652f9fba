"""Where weights come from, and that pickled ones are never read."""

import pickle
from pathlib import Path

import pytest
import tiny_bert

from backends import weights
from backends.finetune import encoders
from knowledge.errors import UserError


class Trap:
    """What a pickle can do when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> object:
        return Path.touch, (self.mark,)


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    """A model whose weights are replaced by a pickle that leaves a mark when it is read."""
    folder = tmp_path / "model"
    tiny_bert.model_folder(folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "mark")))
    return folder


def test_a_folder_with_pickled_weights_alone_is_refused(pickled: Path) -> None:
    with pytest.raises(UserError, match=r"pytorch_model\.bin.*save them as safetensors"):
        weights.local(str(pickled))
    tiny_bert.model_folder(pickled)
    assert weights.local(str(pickled)) == str(pickled)


def test_loading_reads_no_pickle_where_the_hub_gives_one(pickled: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot load the model"):
        encoders.load(str(pickled), "some/model")
    assert not (tmp_path / "mark").exists()


def test_a_path_that_is_no_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model folder"):
        weights.local(str(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"holds no config\.json"):
        weights.local(str(tmp_path))
