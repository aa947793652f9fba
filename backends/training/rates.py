"""How a learning rate goes over a training: the share of its peak at each step."""

import math


def share(
    step: int, steps: int, schedule: str, warmup: float, decay_share: float, floor: float
) -> float:
    """The share of the peak rate in a step, above 0 and at most 1.

    Args:
        step: steps taken before this one.
        warmup: below 1 a share of all steps, else steps; the rate rises linearly over them.
        decay_share: share of all steps over which `wsd` falls.
        floor: the share that is left at the end.
    Source: cosine https://arxiv.org/abs/1608.03983, to a tenth as in
        https://arxiv.org/abs/2203.15556; wsd https://arxiv.org/abs/2404.06395, section 4.
    """
    rising = round(warmup * steps) if warmup < 1 else round(warmup)
    if step < rising:
        return (step + 1) / (rising + 1)
    if schedule.startswith("constant"):
        return 1.0
    begin = rising
    if schedule == "wsd":
        begin = max(rising, steps - max(1, round(decay_share * steps)))
        if step < begin:
            return 1.0
    done = (step - begin + 1) / (max(1, steps - begin) + 1)
    if schedule == "cosine":
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))
    return floor + (1 - floor) * (1 - done)
