"""The parts of an estimate's report that were run: the trace and the measurement."""

from collections.abc import Iterator

from advisor.report.view import Table
from advisor.report.words import duration
from advisor.tracing import Measurement, Runs, Trace
from knowledge.quantities import exactly

MODULES = 6
"""Modules shown by name."""


def sections(runs: Runs) -> Iterator[Table]:
    """Tables of what was run beside the estimate."""
    if "trace" in runs:
        yield from _trace(runs["trace"])
    if "measured" in runs:
        yield _measured(runs["measured"])


def _trace(trace: Trace) -> Iterator[Table]:
    compared = (
        ("trace", f"{trace.allocated_gib:.2f}", f"peak: {trace.peak_phase}"),
        ("estimate", f"{trace.estimate_gib:.2f}", f"{trace.estimate_error:+.1%} off the trace"),
    )
    depths = " and ".join("+".join(map(str, layers)) for layers in trace.traced_layers)
    whole = "+".join(map(str, trace.layers))
    note = f"The model's own code on fake tensors, {depths} of {whole} layers."
    yield Table(
        "Allocated, traced and estimated", ("", "GiB", ""), compared, " ".join((note, *trace.notes))
    )
    phases = tuple((name, f"{gib:.2f}") for name, gib in trace.phases_gib.items())
    yield Table("Peak of each part of a step", ("part", "GiB"), phases)
    kinds = tuple((kind, f"{gib:.2f}") for kind, gib in trace.by_kind_gib.items())
    yield Table("Alive at the peak, by kind", ("kind", "GiB"), kinds)
    share = trace.by_module_gib[trace.holder] / trace.allocated_gib
    modules = tuple((n, f"{gib:.2f}") for n, gib in list(trace.by_module_gib.items())[:MODULES])
    yield Table(
        "Alive at the peak, by module",
        ("module", "GiB"),
        modules,
        f"{trace.holder} holds the most ({share:.0%}).",
    )


def _measured(seen: Measurement) -> Table:
    off = f"estimate {seen.estimate_gib:.2f} GiB, {seen.estimate_error:+.1%} off"
    rows = (
        ("allocated", f"{seen.allocated_gib:.2f} GiB", off),
        ("reserved", f"{seen.reserved_gib:.2f} GiB", "held by the allocator or the process"),
        ("one step", duration(exactly(seen.seconds_per_step)), "the second of two"),
        *((name, f"{gib:.2f} GiB", "") for name, gib in seen.phases_gib.items()),
    )
    return Table(f"Measured on {seen.device}", ("", "", ""), rows)
