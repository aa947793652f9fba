"""How high the right passage stood."""

from collections.abc import Sequence

from backends.base import Metric
from backends.evaluate.bootstrap import mean, share
from knowledge.errors import UserError

CUTS = (1, 5, 10)


def retrieval(ranks: Sequence[int | None], seed: int = 13) -> dict[str, Metric]:
    """`recall@1`, `recall@5`, `recall@10` and `mrr` of questions with one right passage each.

    Args:
        ranks: for each question the rank of the first right passage, 1 the best; None where it
            was not found.
    Raises:
        UserError: there are no questions.
        ValueError: a rank below 1.
    """
    if not ranks:
        raise UserError("no question to score; at least one is needed")
    if any(rank is not None and rank < 1 for rank in ranks):
        raise ValueError("ranks count from 1")
    metrics = {
        f"recall@{cut}": share(sum(rank is not None and rank <= cut for rank in ranks), len(ranks))
        for cut in CUTS
    }
    metrics["mrr"] = mean([0.0 if rank is None else 1 / rank for rank in ranks], seed)
    return metrics
