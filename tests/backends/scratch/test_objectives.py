"""Objectives against examples made by hand, and the corruption of T5 that inverts."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backends.scratch import vocabulary
from backends.scratch.objectives import (
    Masked,
    Spans,
    causal,
    corrupted,
    loss_of,
    restored,
    sentinels,
)
from backends.training.batches import IGNORED
from knowledge.errors import UserError

TEXTS = ["the cat sat on the mat", "a dog ran to the cat"]


def test_causal_says_the_next_token() -> None:
    batch = causal(np.asarray([[5, 6, 7, 8]]))
    assert batch.inputs["input_ids"].tolist() == [[5, 6, 7]]
    assert batch.labels.tolist() == [[6, 7, 8]]


def test_loss_by_hand() -> None:
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4]]]))
    labels = torch.tensor([[0, 2, IGNORED]])
    wanted = -(math.log(0.5) + math.log(0.8)) / 2
    assert loss_of(logits, labels).item() == pytest.approx(wanted, abs=1e-6)
    # A shift of all logits leaves the loss and adds to log Z, which z-loss punishes by its square.
    assert loss_of(logits + 3.0, labels, 0.01).item() == pytest.approx(wanted + 0.01 * 9, abs=1e-5)


def test_z_loss_alone_moves_the_sum_to_one() -> None:
    logits = torch.full((1, 1, 2), 2.0, requires_grad=True)
    loss_of(logits, torch.tensor([[0]]), 0.5).backward()
    plain = torch.full((1, 1, 2), 2.0, requires_grad=True)
    loss_of(plain, torch.tensor([[0]])).backward()
    assert logits.grad is not None
    assert plain.grad is not None
    log_z = 2.0 + math.log(2)
    each = (logits.grad - plain.grad).flatten().tolist()
    assert each == pytest.approx([0.5 * 2 * log_z * 0.5] * 2, rel=1e-5)


def test_a_batch_with_nothing_to_say_has_no_loss() -> None:
    logits = torch.randn(1, 2, 3, requires_grad=True)
    loss = loss_of(logits, torch.full((1, 2), IGNORED))
    loss.backward()
    assert loss.item() == 0.0


@pytest.mark.parametrize("hidden", [0, 3, 12])
def test_compiled_the_loss_is_the_same(monkeypatch: pytest.MonkeyPatch, hidden: int) -> None:
    torch.manual_seed(3)
    labels = torch.randint(0, 5, (3, 4))
    labels.view(-1)[:hidden] = IGNORED
    ours, theirs = (torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(2)) for _ in "ab")
    wanted = loss_of(theirs.requires_grad_(), labels, 0.1)
    wanted.backward()
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    found = loss_of(ours.requires_grad_(), labels, 0.1)
    found.backward()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)


def test_masked_hides_replaces_and_keeps_in_their_shares() -> None:
    tokenizer = vocabulary.trained("characters", TEXTS, masked=True)
    rows = np.tile(np.arange(8), (400, 25))
    rows[:, 40] = tokenizer.eos_token_id
    rows = np.concatenate([rows, rows[:, :1]], axis=1)
    batch = Masked(tokenizer, 0.2, seed=3)(rows, 0)
    shown, labels = batch.inputs["input_ids"].numpy(), batch.labels.numpy()
    original, chosen = rows[:, :-1], labels != IGNORED
    assert (labels[chosen] == original[chosen]).all()
    assert (shown[~chosen] == original[~chosen]).all()
    assert not chosen[:, 40].any()  # the end of a text is never hidden
    assert chosen.mean() == pytest.approx(0.2, abs=0.01)
    assert (shown[chosen] == tokenizer.mask_token_id).mean() == pytest.approx(0.8, abs=0.02)
    kept = (shown[chosen] == original[chosen]).mean()
    assert kept == pytest.approx(0.1 + 0.1 / len(tokenizer), abs=0.02)
    again = Masked(tokenizer, 0.2, seed=3)(rows, 0)
    assert torch.equal(again.inputs["input_ids"], batch.inputs["input_ids"])
    other = Masked(tokenizer, 0.2, seed=3)(rows, 1)
    assert not torch.equal(other.labels, batch.labels)


def test_a_tokenizer_without_a_mask_is_refused() -> None:
    with pytest.raises(UserError, match="no mask token"):
        Masked(vocabulary.trained("characters", TEXTS), 0.15, 0)


def test_spans_by_hand() -> None:
    """Twenty tokens, a tenth taken out in one span of two."""
    row = np.arange(100, 120)
    shown, said = corrupted(row, 0.1, 2.0, [900, 901], 1, np.random.default_rng(0))
    # One span: what stays comes first, so the two last tokens go.
    assert shown.tolist() == [*range(100, 118), 900, 1]
    assert said.tolist() == [900, 118, 119, 1]


@given(
    length=st.integers(8, 600),
    share=st.floats(0.05, 0.5),
    mean=st.floats(2.0, 8.0),
    seed=st.integers(0, 2**32),
)
def test_corruption_inverts(length: int, share: float, mean: float, seed: int) -> None:
    chance = np.random.default_rng(seed)
    row = chance.integers(0, 500, length)
    marks = list(range(1000, 1200))
    shown, said = corrupted(row, share, mean, marks, 999, chance)
    assert restored(shown, said, marks).tolist() == row.tolist()
    out = max(1, round(share * length))
    spans = max(1, round(out / mean))
    assert (len(shown), len(said)) == (length - out + spans + 1, out + spans + 1)


def test_spans_of_a_batch_are_of_one_length_and_shifted_for_the_decoder() -> None:
    tokenizer = vocabulary.trained("characters", TEXTS, sentinels=8)
    rows = np.random.default_rng(0).integers(0, 8, (3, 41))
    batch = Spans(tokenizer, 0.15, 3.0, seed=0)(rows, 0)
    marks = sentinels(tokenizer)
    said, before = batch.labels, batch.inputs["decoder_input_ids"]
    assert before[:, 0].tolist() == [tokenizer.pad_token_id] * 3
    assert torch.equal(before[:, 1:], said[:, :-1])
    for row, shown, wanted in zip(rows, batch.inputs["input_ids"], said, strict=True):
        assert restored(shown.numpy(), wanted.numpy(), marks).tolist() == row[:-1].tolist()


def test_too_many_spans_for_the_sentinels() -> None:
    with pytest.raises(UserError, match="sentinels; lower max_length"):
        corrupted(np.arange(100), 0.5, 2.0, [900], 1, np.random.default_rng(0))
    with pytest.raises(UserError, match="too short for spans"):
        corrupted(np.arange(1), 0.6, 1.0, [900, 901], 1, np.random.default_rng(0))
