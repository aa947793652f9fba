"""Engines: habits with sources."""

import pytest

from knowledge import engines
from knowledge.errors import UserError

ROWS = list(engines.table().values())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_rows_are_whole(row: engines.Engine) -> None:
    assert row.source.startswith("https://")
    assert set(row.loss_bytes) == {"full", "chunked", "fused", "cut-cross-entropy"}
    least = (row.loss_bytes[k] for k in ("cut-cross-entropy", "fused", "chunked", "full"))
    assert list(least) == sorted(row.loss_bytes.values())
    assert 0 <= row.quantised_input_bytes <= 4


def test_usual_names() -> None:
    assert engines.find("TRL").id == "transformers"
    assert engines.find("lit-gpt").id == "litgpt"
    assert engines.find("Megatron-LM").id == "megatron"


def test_unknown_engine() -> None:
    with pytest.raises(UserError, match="no engine 'torchtuna'; did you mean 'torchtune'"):
        engines.find("torchtuna")
