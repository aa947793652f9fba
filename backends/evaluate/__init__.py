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
from backends.evaluate.spans import found_spans, paired_f1, per_label

__all__ = [
    "ClassScore",
    "Confusion",
    "classification",
    "confusions",
    "exact_match",
    "found_spans",
    "mean",
    "paired_difference",
    "paired_f1",
    "per_class",
    "per_label",
    "retrieval",
    "same_answer",
    "share",
    "token_f1",
    "token_overlap",
]
