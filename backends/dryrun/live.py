"""Storages that are alive: counted as operators make them, dropped when nothing holds them.

A dispatch mode sees every tensor that an operator returns; a weak reference to its storage says
when it is gone. What happened is kept as a list of events, so that what was alive at any peak
can be told afterwards at no cost to the run.
"""

import re
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

BLOCK = 512
"""CUDA's allocator hands out multiples of so many bytes.

Source: https://pytorch.org/docs/stable/notes/cuda.html#memory-management"""

_ANY = torch.ops.aten.any.default
_NONZERO = torch.ops.aten.nonzero.default
_ITEM = torch.ops.aten._local_scalar_dense.default
OUTSIDE = "(outside modules)"
Window = tuple[Any, ...]
"""A name; or a name, a stack and the number of a block in it."""


class Made(NamedTuple):
    """Where a storage came from."""

    bytes: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    op: str
    window: Window
    module: str
    """Module whose forward pass made it; in a backward pass, whose operator is undone."""


class Peak(NamedTuple):
    """The largest moment of a window."""

    bytes: int
    events: int
    """Events until then."""
    beside: int
    """Bytes of a kernel's own working memory among them."""


NOWHERE = Peak(-1, 0, 0)


class Recorder(TorchDispatchMode):
    """Counts live storages; the peak of each window is remembered."""

    def __init__(self, block: int = BLOCK) -> None:
        super().__init__()
        self.block = block
        self.device = "cpu"
        self.fake = True
        self.as_cuda = False
        """Whether the processor stands for a CUDA GPU."""
        self.steps = 1
        self.phase = ""
        """Put before the name of every window."""
        self.now = 0
        self.window: Window = ("load",)
        self.peaks: dict[Window, Peak] = {}
        self.events: list[tuple[int, Made | None]] = []
        self.kinds: dict[int, str] = {}
        self.owners: dict[int, str] = {}
        self.backward = False
        self.modules: list[str] = [""]
        self.workspace: dict[Any, Callable[..., int]] = {}
        """Bytes that an operator's kernel takes beside its results, from its arguments."""
        self.library = 0
        """Bytes that the matrix library keeps for each thread that uses it."""
        self._alive: dict[int, tuple[int, int, Any]] = {}
        self._serial = 0
        self._marks: list[tuple[int, str]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if DTensor in types:  # its own dispatch comes back here with what this rank holds
            return NotImplemented
        if func in (_ITEM, _NONZERO) and isinstance(args[0], FakeTensor):
            return _value(args[0]) if func is _ITEM else _all_found(args[0])
        out = func(*args, **(kwargs or {}))
        if func is _ANY:
            out._found = False
        if isinstance(out, torch.Tensor):
            self.add(out, func)
        elif isinstance(out, tuple | list):
            for one in out:
                if isinstance(one, torch.Tensor):
                    self.add(one, func)
        if func in self.workspace:
            self._reach(self.workspace[func](*args, **(kwargs or {})))
        return out

    def add(self, tensor: torch.Tensor, op: Any = "", kind: str = "") -> None:
        """Count a tensor's storage, if it is new."""
        if tensor.device.type == "meta":
            return
        if tensor.is_sparse:
            self.add(tensor._indices(), op, kind)
            self.add(tensor._values(), op, kind)
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        held = self._alive.get(key)
        size = -(-storage.nbytes() // self.block) * self.block
        if held is not None:
            if size != held[1]:  # resized in place
                self._drop(key, held[0])
                if not size:
                    return
            else:
                if kind:
                    self.kinds[held[0]] = kind
                return
        self._serial += 1
        serial = self._serial
        self.now += size
        gone = weakref.ref(storage, lambda _: self._drop(key, serial))
        self._alive[key] = (serial, size, gone)
        made = Made(
            size, tuple(tensor.shape), tensor.dtype, str(op), self.window, self._module()
        )  # fmt: skip
        self.events.append((serial, made))
        if not kind and self.backward and len(self.modules) > 1:
            kind = "recomputed activations"
        if kind:
            self.kinds[serial] = kind
        self._reach()

    def leave_out(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage no longer: it lies in host memory."""
        key = tensor.untyped_storage()._cdata
        if key in self._alive:
            self._drop(key, self._alive[key][0])

    def hold_library(self) -> None:
        """A thread begins to use the matrix library, and its workspace stays."""
        self._serial += 1
        self.now += self.library
        made = Made(self.library, (self.library,), torch.uint8, "workspace", self.window, "")
        self.events.append((self._serial, made))
        self.kinds[self._serial] = "library workspace"

    def call(self, tensor: torch.Tensor | None, kind: str, module: str | None = None) -> None:
        """Say what kind of thing a live tensor is, and whose."""
        if tensor is not None:
            if isinstance(tensor, DTensor):
                tensor = tensor._local_tensor
            held = self._alive.get(tensor.untyped_storage()._cdata)
            if held is not None:
                self.kinds[held[0]] = kind
                if module is not None:
                    self.owners[held[0]] = module

    def call_alive(self, kind: str, since: int) -> None:
        """Name everything alive and unnamed that was made after a serial number."""
        for serial, _, _ in self._alive.values():
            if serial > since:
                self.kinds.setdefault(serial, kind)

    @property
    def serial(self) -> int:
        """Number of the last storage made."""
        return self._serial

    def mark(self, *window: Any) -> None:
        """From here on it is this window."""
        self.resume((self.phase + window[0], *window[1:]))

    def resume(self, window: Window) -> None:
        """Go back to a window."""
        self.window = window
        self._reach()

    def forget(self) -> None:
        """Forget the peaks so far, not what is alive."""
        self.peaks.clear()

    def enter(self, module: str) -> None:
        """A module's forward pass begins."""
        self.modules.append(module)
        self._mark_sequence()

    def leave(self, module: str) -> None:
        """It ends, or broke off with those inside it."""
        while len(self.modules) > 1 and self.modules.pop() != module:
            pass
        self._mark_sequence()

    def alive_at(self, window: Window) -> list[tuple[Made, str]]:
        """What was alive at the peak of a window, with its kind."""
        alive: dict[int, Made] = {}
        peak = self.peaks[window]
        for serial, made in self.events[: peak.events]:
            if made is None:
                alive.pop(serial, None)
            else:
                alive[serial] = made
        found = [
            (
                made._replace(module=self.owners.get(serial, made.module)),
                self.kinds.get(serial, "temporaries"),
            )
            for serial, made in alive.items()
        ]
        if peak.beside:
            made = Made(peak.beside, (), torch.uint8, "kernel", window, "")
            found.append((made, "kernel's workspace"))
        return found

    def _drop(self, key: int, serial: int) -> None:
        held = self._alive.get(key)
        if held is not None and held[0] == serial:
            del self._alive[key]
            self.now -= held[1]
            self.events.append((serial, None))

    def _reach(self, beside: int = 0) -> None:
        """Remember the moment if it is the window's peak; a kernel may take memory beside."""
        size = self.now + beside
        if size > self.peaks.get(self.window, NOWHERE).bytes:
            self.peaks[self.window] = Peak(size, len(self.events), beside)

    def _mark_sequence(self) -> None:
        if not self.backward:
            self._marks.append((torch.autograd._get_sequence_nr(), self.modules[-1]))

    def _module(self) -> str:
        if self.backward and len(self.modules) == 1:
            node = torch._C._current_autograd_node()
            if node is not None:
                return self._undone(node._sequence_nr())
        return self.modules[-1]

    def _undone(self, number: int) -> str:
        """The module whose forward pass made the autograd node of a number."""
        low, high = 0, len(self._marks)
        while low < high:
            middle = (low + high) // 2
            if self._marks[middle][0] <= number:
                low = middle + 1
            else:
                high = middle
        return self._marks[low - 1][1] if low else ""


def _all_found(tensor: torch.Tensor) -> torch.Tensor:
    """Indices of what is not zero in a tensor without contents: everything."""
    return tensor.new_empty((tensor.numel(), tensor.dim()), dtype=torch.long)


def _value(tensor: torch.Tensor) -> float | bool:
    """A number for a tensor without contents: nothing is found amiss, comparisons hold."""
    if tensor.dtype == torch.bool:
        return bool(getattr(tensor, "_found", True))
    return 0.5 if tensor.is_floating_point() else 1


def folded(module: str) -> str:
    """A module's name with layer numbers as `*`, cut below a block's direct child."""
    own = re.sub(r"(^|\.)base_model\.model(\.|$)", r"\1", module)
    parts = re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", own).strip(".").split(".")
    if "*" in parts:
        parts = parts[: parts.index("*") + 2]
    return ".".join(parts) or OUTSIDE


def summed(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Sums by name."""
    sums: dict[str, int] = {}
    for name, size in pairs:
        sums[name] = sums.get(name, 0) + size
    return sums
