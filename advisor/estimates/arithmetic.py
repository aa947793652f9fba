"""Quantities that are numbers or arrays of them: no branch on their values, no import."""

from typing import Any


def larger(a: float, b: float) -> float:
    """The larger of two quantities; of arrays, element by element."""
    return (a + b + abs(a - b)) / 2


def smaller(a: float, b: float) -> float:
    """The smaller of two quantities; of arrays, element by element."""
    return (a + b - abs(a - b)) / 2


def many(quantity: Any) -> bool:
    """Whether a quantity is an array."""
    return getattr(quantity, "ndim", 0) > 0


def said(quantity: Any) -> str:
    """A number in words; an array is "each"."""
    return "each" if many(quantity) else f"{quantity:g}"


def first(quantity: Any) -> float:
    """A number itself, or the first of an array."""
    return float(quantity.flat[0]) if many(quantity) else float(quantity)
