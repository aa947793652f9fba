"""Does a plan fit this machine? Its predicted memory against what is there."""

from advisor import doctor
from backends.base import Plan


def refusal(plan: Plan) -> str | None:
    """Why the plan will not fit in the memory of this machine, or None.

    The middle of the prediction decides: the interval's upper end only means "may not".
    """
    machine = doctor.machine()
    most = max((card.memory_gib for card in machine.cards), default=None)
    room, where = (most, "GPU") if most is not None else (machine.memory_gib, "machine")
    for step in plan.steps:
        predicted = step.predicted.memory_gib
        if predicted is not None and predicted.mid > room:
            return (
                f"step {step.name!r} needs about {predicted.mid:.1f} GiB "
                f"({predicted.low:.1f} to {predicted.high:.1f}), this {where} has {room:.1f} GiB"
            )
    return None
