from typing import Any

import pytest

from advisor.batching import Batching, batching
from advisor.estimates import estimate
from advisor.job import settled

JOB: dict[str, Any] = {
    "model": "qwen2.5-0.5b", "method": "full-ft", "seq_len": 1024, "gpu": "A100-SXM-80GB",
    "examples": 1000, "tokens_per_example": 400, "epochs": 1,
}  # fmt: skip


def high(found: Batching) -> float:
    """The memory to have for a job seen so [GiB]."""
    job = {"checkpointing": "none", **JOB, **found.job()}
    held = estimate(settled(job)).memory_gib
    assert held is not None
    return held.card.high


@pytest.mark.parametrize("room", [1000.0, 60.0, 40.0, 24.0])
def test_the_largest_micro_batch_that_surely_fits_is_taken(room: float) -> None:
    found = batching(JOB, 16, room)
    assert found.micro_batch * found.accumulation == 16
    assert high(found) <= room
    larger = found._replace(micro_batch=2 * found.micro_batch)
    assert found.micro_batch == 16 or high(larger) > room
    if found.checkpointing:
        assert high(Batching(1, 16, False)) > room


def test_less_room_never_sees_more_at_once() -> None:
    seen = [batching(JOB, 16, room) for room in (1000, 80, 60, 40, 30, 24, 20)]
    assert seen[0] == Batching(16, 1, False)
    plain = [one.micro_batch for one in seen if not one.checkpointing]
    assert plain == sorted(plain, reverse=True)
    assert [one.checkpointing for one in seen] == sorted(one.checkpointing for one in seen)


def test_what_fits_nowhere_gets_the_least() -> None:
    assert batching(JOB, 16, 0.5) == Batching(1, 16, True)
    assert batching(JOB, 16, 0.5).settings() == {
        "micro_batch": 1, "accumulation": 16, "checkpointing": True
    }  # fmt: skip
