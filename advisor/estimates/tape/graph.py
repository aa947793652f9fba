"""A reverse-mode graph that computes nothing and counts bytes: which tensors live, and when.

Forward operations record what they keep for the backward pass, as torch's autograd does; a tensor
lives while something refers to it: a variable of the program that reads like the model's code, or
a recorded operation. So the programs in `layers` and `blocks` have the lifetimes of the code they
stand for, and the largest sum of what lives is the peak.

Source: torch/csrc/autograd/engine.cpp (order, accumulation in place), derivatives.yaml (what an
operation keeps).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from heapq import heappop, heappush
from itertools import count
from sys import getrefcount

from advisor.estimates.tape.tensors import (
    ACTIVATIONS,
    BACKWARD,
    CASTED,
    GRADIENTS,
    LOSS,
    RECOMPUTED,
    Amounts,
    Checkpoint,
    Edge,
    Key,
    Made,
    Node,
    Snapshot,
    Storage,
    Symbol,
    Tensor,
)  # fmt: skip


class Graph:
    """What lives now, and every moment at which it may have been most."""

    def __init__(self) -> None:
        self.live: Amounts = {}
        self.snapshots: list[Snapshot] = []
        self.window = "forward"
        self.line = ACTIVATIONS
        self.recording = True
        self.learns = True
        """A pass that learns drops out, also where it keeps nothing yet."""
        self.noise = False
        """Dropout keeps numbers as wide as those it drops, not a byte for each."""
        self.entered: list[tuple[str, Amounts]] = []
        self.held: list[Storage] = []
        """Gradients of parameters."""
        self.cached: dict[Symbol, Storage] = {}
        """Weights cast for autocast, until it ends."""
        self.caches_casts = True
        self.scores: Tensor | None = None
        """Scores that the last block handed on."""
        self.inner: Tensor | None = None
        """What lies between the matrices of an MLP, where its caller holds it."""
        self.repeats = False
        """Parameters have been used before in this pass: their gradients are added to others."""
        self.accumulates = False
        """Gradients of parameters are there already and are added to."""
        self._rising = False
        self._order = count()

    # --- what lives ---

    def grow(self, key: Key, size: float) -> None:
        """Something comes alive."""
        self.live[key] = self.live.get(key, 0.0) + size
        self._rising = True

    def shrink(self, key: Key, size: float) -> None:
        """Something dies; if the sum was rising until now it may have been the peak."""
        if self._rising:
            self.snapshots.append(Snapshot(self.window, dict(self.live)))
            self._rising = False
        self.live[key] -= size

    def enter(self, window: str) -> None:
        """A new window begins; what lives at its beginning is noted."""
        if self._rising:
            self.snapshots.append(Snapshot(self.window, dict(self.live)))
        self.window = window
        self._rising = True
        self.entered.append((window, dict(self.live)))

    # --- forward ---

    def new(self, shape: Made, line: str | None = None) -> Tensor:
        """A tensor that nothing flows back through."""
        return Tensor(Storage(self, (line or self.line, shape.symbol), shape.bytes), shape)

    def leaf(self, shape: Made, line: str | None = None) -> Tensor:
        """A tensor whose gradient is wanted and then kept nowhere (a block's input)."""
        made = self.new(shape, line)
        made.node = Node(next(self._order))
        return made

    def op(
        self,
        shape: Made,
        inputs: Sequence[Tensor],
        *,
        saves: Sequence[Tensor | Storage] = (),
        passes: bool = False,
        into: Storage | None = None,
        parameters: Sequence[Made] = (),
        temporaries: Sequence[Made] = (),
        leaf: bool = False,
    ) -> Tensor:
        """The output of an operation.

        Args:
            saves: kept until the backward pass, if there is one.
            passes: the gradient goes on to the inputs as it is (a sum, a view).
            into: the storage that the output shares.
            parameters: gradients that trained parameters get.
            temporaries: what the backward makes for itself.
            leaf: a gradient comes here though nothing before it needs one.
        """
        storage = into or Storage(self, (self.line, shape.symbol), shape.bytes)
        out = Tensor(storage, shape)
        flows = [x for x in inputs if x.node is not None]
        if self.recording and (flows or parameters or leaf):
            node = Node(next(self._order), LOSS if self.line == LOSS else BACKWARD)
            node.saved = [x.storage if isinstance(x, Tensor) else x for x in saves]
            node.edges = [Edge(x.node, x.shape, passes) for x in flows if x.node is not None]
            added = tuple(parameters) if self.repeats else ()
            node.parameters = () if self.repeats else tuple(parameters)
            node.temporaries = (*temporaries, *added)
            out.node = node
        return out

    def keep(self, x: Tensor, width: float) -> None:
        """Keep a copy of a tensor for the backward pass of the next operation on it."""
        if x.node is not None and self.recording:
            x.node.saved.append(Storage(self, (self.line, x.symbol), width))

    def parts(self, x: Tensor, symbols: Sequence[Symbol]) -> list[Tensor]:
        """Views of one tensor, whose gradients are put together into one of the whole."""
        joint = self.op(x.shape, [x], passes=True, into=x.storage)
        if joint.node is not None:
            joint.node.whole = x.shape
        return [self.op(Made(s, x.bytes), [joint], passes=True, into=x.storage) for s in symbols]

    def marked(self, x: Tensor, window: str) -> Tensor:
        """The tensor; when its gradient comes back, a window begins."""
        if x.node is None:
            return x
        out = self.op(x.shape, [x], passes=True, into=x.storage)
        assert out.node is not None
        out.node.mark = window
        return out

    def checkpointed(self, block: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """The output of a block that keeps its inputs only and is run again for its backward."""
        if not any(x.node for x in inputs) or not self.recording:
            return block(self, *inputs)
        with self.unrecorded():
            out = block(self, *inputs)
        node = Node(next(self._order))
        node.edges = [Edge(x.node, x.shape, True) for x in inputs if x.node is not None]
        node.after = Checkpoint(block, inputs)
        return Tensor(out.storage, out.shape, node)

    @contextmanager
    def unrecorded(self) -> Iterator[None]:
        """Operations keep nothing in here."""
        before, self.recording = self.recording, False
        try:
            yield
        finally:
            self.recording = before

    @contextmanager
    def billed(self, line: str) -> Iterator[None]:
        """What is made in here belongs to that line of the bill."""
        before, self.line = self.line, line
        try:
            yield
        finally:
            self.line = before

    @contextmanager
    def repeated(self) -> Iterator[None]:
        """Operations use parameters in here that the pass has used before."""
        before, self.repeats = self.repeats, True
        try:
            yield
        finally:
            self.repeats = before

    def casted(self, name: str, matrix: Made) -> list[Storage]:
        """A weight in the format that autocast computes in, made once for a pass."""
        if not self.caches_casts:
            return []
        if name not in self.cached:
            self.cached[name] = Storage(self, (CASTED, matrix.symbol), matrix.bytes)
        return [self.cached[name]]

    # --- backward ---

    def backward(self, root: Tensor, grad: Tensor) -> None:
        """Run the operations backwards, the latest first; gradients of parameters stay."""
        assert root.node is not None
        start = root.node
        del root
        waiting: list[tuple[int, Node]] = []
        buffers: dict[int, list[Tensor]] = {}
        self._deliver(start, grad, waiting, buffers)
        del grad, start
        while waiting:
            _, node = heappop(waiting)
            arrived = self._arrived(node, buffers)
            if node.mark is not None:
                self.enter(node.mark)
            if node.after is not None:
                self._again(node, arrived, waiting, buffers)
            else:
                made = self._gradients(node, arrived)
                del arrived
                while made:
                    target, tensor = made.pop(0)
                    self._deliver(target, tensor, waiting, buffers)
                    del tensor
                del made
            node.edges = []

    def _gradients(self, node: Node, arrived: Tensor) -> list[tuple[Node, Tensor]]:
        own = [Storage(self, (node.line, m.symbol), m.bytes) for m in node.temporaries]
        made = [
            (
                edge.node,
                Tensor(arrived.storage, edge.shape)
                if edge.passed
                else self.new(edge.shape, node.line),
            )
            for edge in node.edges
        ]
        fresh = [Storage(self, (GRADIENTS, m.symbol), m.bytes) for m in node.parameters]
        own.clear()
        node.saved = []
        if not self.accumulates:
            self.held += fresh
        return made

    def _again(
        self,
        node: Node,
        arrived: Tensor,
        waiting: list[tuple[int, Node]],
        buffers: dict[int, list[Tensor]],
    ) -> None:
        assert node.after is not None
        block, inputs = node.after
        node.after = None
        leaves = [
            Tensor(x.storage, x.shape, Node(next(self._order)) if x.node is not None else None)
            for x in inputs
        ]
        targets = [x.node for x in inputs if x.node is not None]
        del inputs
        with self.billed(RECOMPUTED):
            out = block(self, *leaves)
        self.cached = {}
        starts = [x.node for x in leaves if x.node is not None]
        del leaves
        inner: dict[int, list[Tensor]] = {}
        ready: list[tuple[int, Node]] = []
        root = out.node
        del out
        assert root is not None
        self._deliver(root, arrived, ready, inner)
        del arrived, root
        ends = {x.order for x in starts}
        while ready:
            _, step = heappop(ready)
            if step.order in ends:
                continue
            made = self._gradients(step, self._arrived(step, inner))
            while made:
                target, tensor = made.pop(0)
                self._deliver(target, tensor, ready, inner)
                del tensor
            step.edges = []
        for begin, target in zip(starts, targets, strict=True):
            tensor = self._arrived(begin, inner)
            self._deliver(target, tensor, waiting, buffers)
            del tensor

    def _arrived(self, node: Node, buffers: dict[int, list[Tensor]]) -> Tensor:
        """The gradient that an operation gets; of parts, put together."""
        pieces = buffers.pop(node.order)
        return pieces[0] if node.whole is None else self.new(node.whole, BACKWARD)

    def _deliver(
        self,
        node: Node,
        tensor: Tensor,
        waiting: list[tuple[int, Node]],
        buffers: dict[int, list[Tensor]],
    ) -> None:
        """Add a gradient to what has arrived already, in place if nothing else refers to it."""
        there = buffers.get(node.order)
        if there is None:
            buffers[node.order] = [tensor]
            heappush(waiting, (-node.order, node))
        elif node.whole is not None:
            there.append(tensor)
        # Two: the tensor that waits, and the argument of getrefcount itself.
        elif getrefcount(there[0].storage) > 2:
            there[0] = self.new(there[0].shape, BACKWARD)
