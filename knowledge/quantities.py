"""A quantity with an interval, and how quantities add up when some are unknown."""

from collections.abc import Iterable
from math import exp, hypot, log

import msgspec

GIB = 2.0**30
HOUR = 3600.0
HOURS_A_MONTH = 730.5


class Range(msgspec.Struct, frozen=True):
    """Low, mid and high of one quantity; what the interval means is said where it is made."""

    low: float
    mid: float
    high: float

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.mid + other.mid, self.high + other.high)

    def scaled(self, factor: float) -> "Range":
        """Every bound times a known, non-negative factor."""
        return Range(self.low * factor, self.mid * factor, self.high * factor)

    def times(self, other: "Range") -> "Range":
        """The product of two non-negative quantities, bounds multiplied (the cautious choice)."""
        return Range(self.low * other.low, self.mid * other.mid, self.high * other.high)

    def over(self, other: "Range") -> "Range":
        """The quotient of two positive quantities, bounds crossed (the cautious choice)."""
        return Range(self.low / other.high, self.mid / other.mid, self.high / other.low)


def loosened(range_: Range, factor: float) -> Range:
    """The range of a quantity once a factor >= 1 either way, independent of it, comes on top.

    Independent spreads add up as the squares of their logarithms.
    """
    if factor <= 1 or min(range_.low, range_.mid) <= 0:
        return range_
    below = exp(-hypot(log(range_.mid / range_.low), log(factor)))
    above = exp(hypot(log(range_.high / range_.mid), log(factor)))
    return Range(range_.mid * below, range_.mid, range_.mid * above)


def exactly(value: float) -> Range:
    """A known quantity."""
    return Range(value, value, value)


def around(value: float, factor: float) -> Range:
    """A quantity known up to a factor >= 1, either way."""
    return Range(value / factor, value, value * factor)


class Total(msgspec.Struct, frozen=True):
    """A sum; `at_least` says that a line of it is unknown."""

    range: Range
    at_least: bool


def total(parts: Iterable[Range | None]) -> Total:
    """The sum of the known parts, and whether any part is unknown."""
    summed, missing = exactly(0.0), False
    for part in parts:
        if part is None:
            missing = True
        else:
            summed = summed + part
    return Total(summed, missing)
