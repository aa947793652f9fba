"""Tokenizers: trained, kept or extended, and what is to be known of one before it is used."""

from backends.scratch.vocabulary.extension import extended, widened
from backends.scratch.vocabulary.kinds import END, KINDS, MASK, PADDING, UNKNOWN, kept, trained
from backends.scratch.vocabulary.measures import (
    Fertility,
    check_round_trip,
    encoded,
    fertility,
)

__all__ = [
    "END",
    "KINDS",
    "MASK",
    "PADDING",
    "UNKNOWN",
    "Fertility",
    "check_round_trip",
    "encoded",
    "extended",
    "fertility",
    "kept",
    "trained",
    "widened",
]
