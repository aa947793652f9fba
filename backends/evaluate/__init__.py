"""Metrics with 95 % intervals, the same for every backend.

Shares have Wilson intervals; means and F1 have percentile bootstrap intervals from a seed.
"""

from backends.evaluate.answers import exact_match, same_answer, token_f1, token_overlap
from backends.evaluate.bootstrap import mean, share
from backends.evaluate.classes import (
    ClassScore,
    Confusion,
    classification,
    confusions,
    paired_difference,
    per_class,
)
from backends.evaluate.ranks import retrieval

__all__ = [
    "ClassScore",
    "Confusion",
    "classification",
    "confusions",
    "exact_match",
    "mean",
    "paired_difference",
    "per_class",
    "retrieval",
    "same_answer",
    "share",
    "token_f1",
    "token_overlap",
]
