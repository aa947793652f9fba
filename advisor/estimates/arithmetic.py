"""Larger and smaller of two quantities, for numbers and arrays alike: no branch, no import."""


def larger(a: float, b: float) -> float:
    """The larger of two quantities; of arrays, element by element."""
    return (a + b + abs(a - b)) / 2


def smaller(a: float, b: float) -> float:
    """The smaller of two quantities; of arrays, element by element."""
    return (a + b - abs(a - b)) / 2
