"""Memory of one GPU: the bill of the peak, and three figures with ranges."""

from advisor.estimates.arithmetic import first
from advisor.estimates.moments import Moment, moments
from advisor.estimates.records import Line, Memory
from advisor.estimates.states import Part
from advisor.estimates.workload import Workload
from knowledge import constants
from knowledge.quantities import GIB, Range, exactly

MISSED = 0.85
"""A length that is only a cap may be missed by so much."""
SHOWN = 1e-4
"""Lines below a ten-thousandth of the total are left out of nothing but the sum of the rest."""


def memory(w: Workload) -> Memory:
    """Peak memory of one GPU: what is alive, what the allocator holds, what the card shows.

    On a processor the last is the whole process.

    Off by: see `advisor validate memory`.
    """
    bills = tuple(moments(w))
    top = max(bills, key=lambda bill: bill.size)
    allocated = _spread(w, top)
    held = gaps(w)
    reserved = Range(allocated.low * held.low, allocated.mid * held.mid, allocated.high * held.high)
    card = reserved + outside(w).scaled(GIB)
    return Memory(
        allocated=allocated.scaled(1 / GIB),
        reserved=reserved.scaled(1 / GIB),
        card=card.scaled(1 / GIB),
        lines=tuple(_line(part) for part in top.parts if part.size > SHOWN * top.size),
        peak_phase=top.phase,
        static_gib=_static(bills) / GIB,
    )


def peak(w: Workload) -> Moment:
    """The bill of the moment at which most is alive."""
    return max(moments(w), key=lambda bill: bill.size)


def gaps(w: Workload) -> Range:
    """What the allocator holds over what is alive, as factors; of a processor, the heap."""
    heap = w.on_cpu and w.trains and w.trained_blocks > 0
    return constants.find("heap" if heap else "reserved").range


def outside(w: Workload) -> Range:
    """What the card shows beside the allocator [GiB]: context, communication, the process."""
    found = constants.find("process-gib" if w.on_cpu else "context-gib").range
    return found + constants.find("communication-gib").range if first(w.split.gpus) > 1 else found


def _line(part: Part) -> Line:
    return Line(part.name, part.size / GIB, part.why, part.source)


def _static(bills: tuple[Moment, ...]) -> float:
    """What every moment holds [bytes]."""
    common = set(bills[0].parts).intersection(*(bill.parts for bill in bills[1:]))
    return sum(part.size for part in common)


def _spread(w: Workload, bill: Moment) -> Range:
    """The bill with the range of each sort of line; a length that is only a cap may be missed."""
    total = exactly(0.0)
    for part in bill.parts:
        total = total + spread(w, part.sort).scaled(part.size)
    return total


def spread(w: Workload, sort: str) -> Range:
    """How far lines of a sort may be off, as factors."""
    found = constants.find(f"spread-{sort}").range
    if w.reach < 1 and sort in ("activation", "loss"):
        return Range(found.low * MISSED, found.mid, found.high)
    return found
