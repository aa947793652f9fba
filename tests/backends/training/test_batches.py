import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.training import Training, batches, meter, precision


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=200), st.integers(1, 9), st.integers(0, 5)
)
def test_an_epoch_has_every_row_once_in_an_order_of_its_own(
    lengths: list[int], batch: int, epoch: int
) -> None:
    order = batches.Order(lengths, batch, seed=3)
    order.set_epoch(epoch)
    first = list(order)
    assert sorted(first) == list(range(len(lengths)))
    assert first == list(order)


def test_epochs_and_seeds_differ() -> None:
    order = batches.Order([5] * 100, 4, seed=3)
    first = list(order)
    order.set_epoch(1)
    assert list(order) != first
    assert list(batches.Order([5] * 100, 4, seed=4)) != first


def test_like_lengths_come_together_so_little_is_padded() -> None:
    chance = random.Random(0)
    lengths = [min(400, int(chance.lognormvariate(3, 1)) + 1) for _ in range(2000)]

    def padding(order: list[int]) -> float:
        slots = sum(
            max(lengths[row] for row in order[i : i + 16]) * len(order[i : i + 16])
            for i in range(0, len(order), 16)
        )
        return slots / sum(lengths) - 1

    assert padding(list(batches.Order(lengths, 16, seed=0))) < 0.2
    assert padding(list(range(2000))) > 1.0


def test_a_batch_is_padded_to_its_longest_row_only() -> None:
    batch = batches.padded(
        [{"input_ids": [5, 6, 7], "labels": 1}, {"input_ids": [8], "labels": 0}], pad=9
    )
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [1, 0]


def test_precision_does_as_told_and_else_asks_the_device() -> None:
    assert precision.bf16("bf16") and precision.bf16(True)
    assert not precision.bf16("fp32") and not precision.bf16(False)
    assert isinstance(precision.bf16("auto"), bool)
    one = torch.ones(2, 2)
    with precision.autocast(True):
        assert (one.to(precision.device()) @ one.to(precision.device())).dtype == torch.bfloat16
    with precision.autocast(False):
        assert (one @ one).dtype == torch.float32


def test_the_meter_sees_memory_that_came_and_went() -> None:
    if torch.cuda.is_available():
        pytest.fail("this test is about the CPU's meter; run it with CUDA_VISIBLE_DEVICES=''")
    with meter.Meter() as measured:
        block = torch.ones(64 * 2**20 // 4)
        threading_pause = sum(block[:: 2**12].tolist())
        meter.time.sleep(5 * meter.PERIOD)
        del block
    assert threading_pause > 0
    assert measured.metric == "process RSS"
    assert measured.peak_bytes - measured.before > 48 * 2**20
    assert measured.seconds >= 5 * meter.PERIOD


def test_the_names_of_other_trainers_are_fields() -> None:
    from backends.training import ALIASES

    assert set(ALIASES.values()) <= set(Training.__struct_fields__)
