"""Tensors without numbers: what each takes, what made it, where its gradient goes.

Sizes are symbolic: so many bytes for each unit of a product such as `T*h` (T tokens of the batch,
h hidden). One walk over a block therefore serves every model of its shape, every batch and length,
and arrays of them.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

Symbol = str
"""A product of named sizes, such as `T*h`."""
Key = tuple[str, Symbol]
"""A line of the bill, and what it is counted in."""
Amounts = dict[Key, float]
"""Bytes for each unit of the symbol."""

ACTIVATIONS = "activations"
RECOMPUTED = "one block recomputed"
BACKWARD = "one block's gradients"
GRADIENTS = "gradients"
CASTED = "weights cast by autocast"
LOSS = "logits and loss"


class Made(NamedTuple):
    """The shape of a tensor, and the bytes of one of its numbers."""

    symbol: Symbol
    bytes: float


class Ledger(Protocol):
    """Who is told what comes alive and dies."""

    def grow(self, key: Key, size: float) -> None:
        """Something comes alive."""

    def shrink(self, key: Key, size: float) -> None:
        """Something dies."""


class Storage:
    """Bytes that are alive while anything refers to them."""

    __slots__ = ("graph", "key", "size")

    def __init__(self, graph: "Ledger", key: Key, size: float) -> None:
        self.graph, self.key, self.size = graph, key, size
        graph.grow(key, size)

    def __del__(self) -> None:
        self.graph.shrink(self.key, self.size)


class Node:
    """A recorded operation: what it keeps, and where its gradients go."""

    __slots__ = (
        "after",
        "edges",
        "line",
        "mark",
        "order",
        "parameters",
        "saved",
        "temporaries",
        "whole",
    )

    def __init__(self, order: int, line: str = BACKWARD) -> None:
        self.order = order
        self.line = line
        """Line of the bill that its gradients belong to."""
        self.saved: list[Storage] = []
        self.edges: list[Edge] = []
        self.parameters: tuple[Made, ...] = ()
        self.temporaries: tuple[Made, ...] = ()
        self.mark: str | None = None
        self.after: Checkpoint | None = None
        self.whole: Made | None = None


class Edge(NamedTuple):
    """Where a gradient goes, in which shape; `passed` on as it is, or made anew."""

    node: Node
    shape: Made
    passed: bool


class Tensor:
    """A tensor: its storage, its shape, and the operation that a gradient goes back to."""

    __slots__ = ("bytes", "node", "storage", "symbol")

    def __init__(self, storage: Storage, shape: Made, node: Node | None = None) -> None:
        self.storage, self.node = storage, node
        self.symbol, self.bytes = shape

    @property
    def shape(self) -> Made:
        """Its symbol and the bytes of one number."""
        return Made(self.symbol, self.bytes)

    @property
    def needs_grad(self) -> bool:
        """Whether a gradient flows back through it."""
        return self.node is not None

    def viewed(self, symbol: Symbol) -> "Tensor":
        """The same numbers under another shape."""
        return Tensor(self.storage, Made(symbol, self.bytes), self.node)


class Checkpoint(NamedTuple):
    """A block that keeps its inputs only; `again` runs it anew in the backward pass."""

    again: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]


class Snapshot(NamedTuple):
    """What lives at a moment that may be the peak, and the window it lies in."""

    window: str
    live: Amounts
