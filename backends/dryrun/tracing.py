"""The trace: a step on fake tensors at small depths, followed to the whole depth by straight lines.

Every window of a step is extrapolated on its own, because a maximum over windows is not linear
in depth while each window is. Blocks are told apart by their place from the start and from the
end within one period of the layers' pattern; blocks between lie between, so no peak hides there.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import NamedTuple

from torch._subclasses.fake_tensor import FakeTensorMode

from backends.dryrun import Alive, Request, Traced
from backends.dryrun.likeness import of_cuda, of_real
from backends.dryrun.live import Made, Recorder, Window, folded, summed
from backends.dryrun.models import Depth, depth, shortened
from backends.dryrun.running import prepared
from knowledge.errors import UserError

Layers = tuple[int, ...]
Place = tuple[str, str, int]
"""A window whatever the depth: its name, its stack, its place from the start (0, 1, ...) or from
the end (-1, -2, ...)."""

NAMES = {
    "static": "between steps",
    "backward inputs": "backward, inputs",
}


class Run(NamedTuple):
    """One traced depth."""

    layers: Layers
    recorder: Recorder
    notes: tuple[str, ...]
    attention: str


def trace(request: Request, *, whole: bool = False) -> Traced:
    """See `backends.dryrun.trace`."""
    place = depth(request)
    runs = [run(request, place, layers) for layers in depths(place, whole=whole)]
    line = _line(place.layers, [one.layers for one in runs])
    spots = [_spots(one, place) for one in runs]
    common = [spot for spot in spots[0] if all(spot in other for other in spots)]
    sizes = {spot: line([s[spot][0] for s in spots]) for spot in common}
    peak = max(sizes, key=lambda spot: sizes[spot])
    alive = [one.recorder.alive_at(s[peak][1]) for one, s in zip(runs, spots, strict=True)]
    return Traced(
        allocated=round(sizes[peak]),
        phases=_phases(sizes),
        peak_phase=_name(peak),
        by_module=_shares(alive, line, lambda made, kind: folded(made.module)),
        by_kind=_shares(alive, line, lambda made, kind: kind),
        depths=tuple(one.layers for one in runs),
        layers=place.layers,
        attention=runs[-1].attention,
        notes=tuple(dict.fromkeys(note for one in runs for note in one.notes)),
    )


def live_at_peak(
    request: Request, *, window: str | None = None, layers: Layers | None = None
) -> list[Alive]:
    """See `backends.dryrun.live_at_peak`."""
    place = depth(request)
    one = run(request, place, layers or depths(place, whole=False)[-1])
    spots = _spots(one, place, everything=True)
    wanted = [spot for spot in spots if window in (None, _name(spot))]
    peak = max(wanted, key=lambda spot: spots[spot][0])
    alive = one.recorder.alive_at(spots[peak][1])
    return [
        Alive(
            made.bytes, kind, made.module, " ".join(map(str, made.window)), made.shape,
            str(made.dtype).removeprefix("torch."), made.op,
        )
        for made, kind in sorted(alive, key=lambda pair: -pair[0].bytes)
    ]  # fmt: skip


def _tables(request: Request) -> AbstractContextManager[None]:
    """What keeps a library's tables from being made on fake tensors for good."""
    if request.quant == "none":
        return nullcontext()
    tables: AbstractContextManager[None] = import_module(
        "backends.dryrun.quantisation"
    ).own_tables()
    return tables


def run(request: Request, place: Depth, layers: Layers) -> Run:
    """One step at one depth on fake tensors, with the kernels of the request's device."""
    as_cuda = request.device == "cuda"
    ready = prepared(request, shortened(request, place, layers), layers)
    recorder = Recorder() if as_cuda else Recorder(block=1)
    likeness = of_cuda(recorder) if as_cuda else of_real()
    try:
        with (
            FakeTensorMode(allow_non_fake_inputs=True), likeness, _tables(request),
            warnings.catch_warnings(),
        ):  # fmt: skip
            warnings.simplefilter("ignore")  # libraries' remarks on how their code is called
            ready.go(recorder)
    except UserError:
        raise
    except Exception as error:
        line = " ".join(str(error).split())[:200]
        kind = request.config["model_type"]
        raise UserError(
            f"the method {request.method!r} on model_type {kind!r} cannot be traced: "
            f"{type(error).__name__}: {line}"
        ) from error
    used = ready.bundle.base.config._attn_implementation
    return Run(layers, recorder, ready.bundle.notes, used)


def depths(place: Depth, *, whole: bool) -> list[Layers]:
    """The depths to trace: two, three where two stacks differ; the whole where that is no more."""
    if whole:
        return [place.layers]
    if len(place.layers) == 1:
        count = place.layers[0]
        least = place.first + place.last + (2 if place.period == 1 else place.period + 1)
        low = least + (count - least) % place.period
        return [(low,), (low + place.period,)] if low + place.period < count else [(count,)]
    if min(place.layers) < 4:
        return [place.layers]
    if len(set(place.layers)) == 1:  # as deep as each other: both grow together
        return [(2, 2), (3, 3)]
    return [(2, 2), (3, 2), (2, 3)]


def _line(layers: Layers, traced: Sequence[Layers]) -> Callable[[Sequence[float]], float]:
    """The value at the whole depth, from the values at the traced depths."""
    if len(traced) == 1:
        return lambda values: values[0]
    base = traced[0]
    if len(traced) == 2:
        share = (layers[0] - base[0]) / (traced[1][0] - base[0])
        return lambda values: values[0] + (values[1] - values[0]) * share

    def at(values: Sequence[float]) -> float:
        total = values[0]
        for stack, (whole, low) in enumerate(zip(layers, base, strict=True)):
            step = traced[stack + 1][stack] - low
            total += (values[stack + 1] - values[0]) * (whole - low) / step
        return total

    return at


def _spots(one: Run, place: Depth, *, everything: bool = False) -> dict[Place, tuple[int, Window]]:
    """Peak bytes and window by place; a place that several windows share has its largest."""
    spots: dict[Place, tuple[int, Window]] = {}
    ends: dict[tuple[str, str], int] = {}
    for window in one.recorder.peaks:
        if len(window) == 3:
            ends[window[0], window[1]] = max(ends.get((window[0], window[1]), 0), window[2] + 1)
    for window, peak in one.recorder.peaks.items():
        for spot in _places(window, ends, place, everything=everything):
            if peak.bytes > spots.get(spot, (-1,))[0]:
                spots[spot] = (peak.bytes, window)
    return spots


def _places(
    window: Window, ends: Mapping[tuple[str, str], int], place: Depth, *, everything: bool
) -> list[Place]:
    if len(window) < 3:
        return [(window[0], window[1] if len(window) > 1 else "", 0)]
    name, stack, index = window
    behind = index - ends[name, stack]
    places: list[Place] = []
    if index < place.first + place.period or everything:
        places.append((name, stack, index))
    if behind >= -(place.period + place.last):
        places.append((name, stack, behind))
    return places


def _name(spot: Place) -> str:
    window, _, index = spot
    phase, colon, name = window.rpartition(": ")
    if name == "backward":
        name = "backward, first block" if index >= 0 else "backward, last block"
    return phase + colon + NAMES.get(name, name)


def _phases(sizes: Mapping[Place, float]) -> dict[str, int]:
    phases: dict[str, int] = {}
    for spot, size in sizes.items():
        phases[_name(spot)] = max(phases.get(_name(spot), 0), round(size))
    return phases


def _shares(
    alive: Sequence[Sequence[tuple[Made, str]]],
    line: Callable[[Sequence[float]], float],
    name: Callable[[Made, str], str],
) -> dict[str, int]:
    """Bytes at the peak by some name, largest first."""
    sums = [summed((name(made, kind), made.bytes) for made, kind in one) for one in alive]
    names = dict.fromkeys(key for one in sums for key in one)
    sizes = {key: round(line([one.get(key, 0) for one in sums])) for key in names}
    return dict(sorted(((k, v) for k, v in sizes.items() if v), key=lambda pair: -pair[1]))
