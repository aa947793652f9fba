"""The grid: every cell is the estimate of its own job, on the fewest GPUs that hold it."""

import pytest

from advisor.estimates import estimate
from advisor.estimates.grid import LONGEST, ROWS, SIZES, grid
from advisor.job import settled
from knowledge.errors import UserError

GRID = grid(settled({}))
CELLS = {(cell.approach, cell.model): cell for cell in GRID.cells}


def test_every_approach_has_a_cell_for_every_size() -> None:
    assert len(GRID.cells) == len(ROWS) * (len(SIZES) + 1)
    for row in ROWS:
        for model in SIZES:
            cell = CELLS[row.id, model]
            assert cell.usd is not None and cell.n_gpus is not None, (row.id, model, cell.why)


def test_a_cell_is_the_estimate_of_its_job() -> None:
    cell = CELLS["lora", "llama-3.1-8b"]
    answer = estimate(settled({
        "model": "llama-3.1-8b", "method": "lora", "gpu": GRID.gpu, "n_gpus": 1, "seq_len": 2048,
        "examples": 10_000, "tokens_per_example": 400, "epochs": 3, "micro_batch": 1,
    }))  # fmt: skip
    assert answer.fits_surely
    assert cell.n_gpus == 1 and cell.usd == answer.money.usd
    assert answer.time is not None and cell.hours == answer.time.wall_hours


@pytest.mark.parametrize("approach", [row.id for row in ROWS])
def test_larger_models_never_cost_less(approach: str) -> None:
    spent = [CELLS[approach, model].usd for model in SIZES]
    mids = [usd.mid for usd in spent if usd is not None]
    assert mids == sorted(mids)


def test_methods_are_ordered_as_their_physics() -> None:
    for model in SIZES:
        lora, full = CELLS["lora", model].usd, CELLS["full fine-tuning", model].usd
        scratch = CELLS["from scratch", model].usd
        assert lora is not None and full is not None and scratch is not None
        assert lora.mid < full.mid < scratch.mid


def test_long_runs_take_more_gpus() -> None:
    cell = CELLS["from scratch", "llama-3.1-70b"]
    assert cell.hours is not None and cell.hours.mid <= LONGEST
    assert cell.n_gpus is not None and cell.n_gpus > 64


def test_what_the_job_says_goes_before_the_usual() -> None:
    more = grid(settled({"gpu": "a100-sxm-80gb", "examples": 100_000, "spot": True}))
    cells = {(cell.approach, cell.model): cell for cell in more.cells}
    mine, usual = cells["lora", SIZES[1]], CELLS["lora", SIZES[1]]
    assert more.gpu == "A100-SXM-80GB"
    assert mine.gpu_hours is not None and usual.gpu_hours is not None
    assert mine.gpu_hours.mid > 10 * usual.gpu_hours.mid
    with pytest.raises(UserError):
        grid(settled({"gpu": "h10"}))
