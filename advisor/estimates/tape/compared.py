"""The moments of a pass beside each other: how each differs from the last, and which never lead."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from advisor.estimates.tape.passes import Peak
from advisor.estimates.tape.tensors import GRADIENTS


class Changed(NamedTuple):
    """How a moment differs from the one before: bytes by symbol, of gradients of parameters and
    of all else, and what other blocks hold, gone and come."""

    live: tuple[tuple[str, float], ...]
    gradients: tuple[tuple[str, float], ...]
    gone: tuple[tuple[str, Mapping[tuple[str, str], float]], ...]
    come: tuple[tuple[str, Mapping[tuple[str, str], float]], ...]


_CHANGES: dict[int, tuple[object, tuple[Changed, ...]]] = {}


def changes(peaks: Sequence[Peak]) -> tuple[Changed, ...]:
    """The moments, each as its change: most of what is alive stays from one to the next."""
    if id(peaks) not in _CHANGES or _CHANGES[id(peaks)][0] is not peaks:
        found, before = [], Peak("", {}, {})
        for peak in peaks:
            found.append(_changed(before, peak))
            before = peak
        _CHANGES[id(peaks)] = (peaks, tuple(found))
    return _CHANGES[id(peaks)][1]


def _changed(before: Peak, peak: Peak) -> Changed:
    live: dict[str, float] = {}
    grads: dict[str, float] = {}
    was, now = before.live.items(), peak.live.items()
    for sign, amounts in ((1.0, now - was), (-1.0, was - now)):
        for (line, symbol), per in amounts:
            into = grads if line == GRADIENTS else live
            into[symbol] = into.get(symbol, 0.0) + sign * per
    here = {(name, id(others)): (name, others) for name, others in peak.others.items()}
    there = {(name, id(others)): (name, others) for name, others in before.others.items()}
    return Changed(
        tuple(live.items()), tuple(grads.items()),
        tuple(there[key] for key in there if key not in here),
        tuple(here[key] for key in here if key not in there),
    )  # fmt: skip


_MAXIMA: dict[int, tuple[object, tuple[Peak, ...]]] = {}


def undominated(peaks: Iterable[Peak]) -> tuple[Peak, ...]:
    """The moments that are not below another one in everything, whatever the sizes are."""
    if id(peaks) not in _MAXIMA or _MAXIMA[id(peaks)][0] is not peaks:
        listed = list(peaks)
        flat = [_flat(peak) for peak in listed]
        keep: list[int] = []
        for i, own in enumerate(flat):
            if not any(_covers(flat[j], own) for j in keep):
                keep = [*(j for j in keep if not _covers(own, flat[j])), i]
        _MAXIMA[id(peaks)] = (peaks, tuple(listed[i] for i in keep))
    return _MAXIMA[id(peaks)][1]


def _flat(peak: Peak) -> Mapping[tuple[str, str, bool], float]:
    total: dict[tuple[str, str, bool], float] = {}
    for name, amounts in (("", peak.live), *peak.others.items()):
        for (line, symbol), size in amounts.items():
            key = (name, symbol, line == GRADIENTS)
            total[key] = total.get(key, 0.0) + size
    return total


def _covers(
    big: Mapping[tuple[str, str, bool], float], small: Mapping[tuple[str, str, bool], float]
) -> bool:
    return all(big.get(key, 0.0) >= size - 1e-9 for key, size in small.items())
