"""Two real steps with random weights on this machine's device, through the steps of the trace."""

import gc
import time
from pathlib import Path
from typing import Any, Self

import psutil
import torch
from torch.profiler import ProfilerActivity, profile

from backends.dryrun import Measured, Request
from backends.dryrun.live import Recorder, Window
from backends.dryrun.models import config, depth
from backends.dryrun.running import Ready, prepared
from backends.dryrun.tracing import trace
from backends.training import precision, silence
from knowledge.errors import UserError
from knowledge.quantities import GIB


class Device(Recorder):
    """Lets steps run for real, and asks the device for its peaks and the clock for its time."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device, self.fake, self.steps = device, False, 2
        self.sizes: dict[str, int] = {}
        self.begun = self.seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        return None

    def add(self, tensor: torch.Tensor, op: Any = "", kind: str = "") -> None:
        """Nothing: the allocator counts."""

    def hold_library(self) -> None:
        """Nothing: the library does it itself."""

    def call(self, tensor: torch.Tensor | None, kind: str, module: str | None = None) -> None:
        """Nothing."""

    def call_alive(self, kind: str, since: int) -> None:
        """Nothing."""

    def resume(self, window: Window) -> None:
        """A window ends; its peak is the device's since it began."""
        if self.device == "cuda":
            name = str(self.window[0])
            self.sizes[name] = max(self.sizes.get(name, 0), torch.cuda.max_memory_allocated())
            torch.cuda.reset_peak_memory_stats()
        self.window = window

    def forget(self) -> None:
        """A step begins."""
        self.sizes.clear()
        self.begun = self.clock()

    def end(self) -> None:
        """The last step is over."""
        self.seconds = self.clock() - self.begun

    def clock(self) -> float:
        """Seconds, with the device's work done."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def measure(request: Request) -> Measured:
    """See `backends.dryrun.measure`."""
    silence.quiet()
    if request.sharding != "none":
        raise UserError("sharding cannot be measured on one device; --trace follows it")
    device = precision.device()
    if device == "cpu":
        _refuse_what_needs_a_gpu(request)
    _refuse_what_does_not_fit(request, device)
    layers = depth(request).layers
    ready = prepared(request, config(request), layers)
    recorder = Device(device)
    try:
        held = _on_gpu(ready, recorder) if device == "cuda" else _on_cpu(ready, recorder)
    except torch.OutOfMemoryError as error:
        raise UserError(f"the job does not fit on this {device}: {str(error)[:120]}") from error
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    return Measured(
        device=name, allocated=held[0], reserved=held[1], seconds_per_step=recorder.seconds,
        phases=dict(recorder.sizes),
    )  # fmt: skip


def _refuse_what_needs_a_gpu(request: Request) -> None:
    if request.checkpointing == "full-offloaded":
        raise UserError("checkpointing full-offloaded cannot be measured on a cpu; --trace has it")
    if request.quant.endswith("-dq"):
        # bitsandbytes compiles its kernels here, and torch's profiler loses events by that.
        raise UserError(f"quant {request.quant!r} cannot be measured on a cpu; --trace has it")


def _refuse_what_does_not_fit(request: Request, device: str) -> None:
    wanted = trace(request).allocated
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else psutil.virtual_memory().available
    if wanted > free:
        raise UserError(
            f"the job needs {wanted / GIB:.1f} GiB by its trace and this {device} has "
            f"{free / GIB:.1f} GiB free; take a smaller batch, length or model"
        )


def _on_gpu(ready: Ready, recorder: Device) -> tuple[int, int]:
    """Peaks of what was allocated and of what the allocator held [bytes]."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    ready.go(recorder)
    recorder.end()
    recorder.resume(("end",))
    return max(recorder.sizes.values()), torch.cuda.max_memory_reserved()


def _on_cpu(ready: Ready, recorder: Device) -> tuple[int, int]:
    """Peak of the allocation events, and of the resident memory above its start [bytes]."""
    gc.collect()  # what earlier work left must not be released among these events
    before = psutil.Process().memory_info().rss
    cleared = _clear_peak()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as events:
        ready.go(recorder)
        recorder.end()
    peak = _peak_resident() if cleared else psutil.Process().memory_info().rss
    return _peak_of_events(events), max(0, peak - before)


def _peak_of_events(events: profile) -> int:
    """The highest sum of allocations and releases [bytes]."""
    found = [
        (event.start_ns(), event.nbytes())
        for event in events.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    now = peak = 0
    for _, size in sorted(found, key=lambda pair: pair[0]):
        now += size
        peak = max(peak, now)
    return peak


def _clear_peak() -> bool:
    """Start the kernel's record of the peak anew; False where there is none."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak_resident() -> int:
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
