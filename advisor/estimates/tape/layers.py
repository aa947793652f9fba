"""The layers of a transformer as programs that count bytes: what each makes, keeps and frees.

Each function reads like the code of transformers 5.23 that it stands for, so that its variables
live as long.

Sizes in symbols: T tokens of the batch, S tokens that one attends to, h hidden, a heads,
q heads x head size, k key-value heads x head size, f width of the MLP, r rank.
"""

from collections.abc import Sequence

from advisor.estimates.tape.graph import Graph
from advisor.estimates.tape.tensors import Made, Storage, Tensor

LONG = 8.0
FP32 = 4.0
HALF = 2.0
BYTE = 1.0


def inner(x: Tensor) -> str:
    """What a tensor holds for each token: `h` of `T*h`."""
    return x.symbol.split("*", 1)[1]


def rows(x: Tensor) -> str:
    """What a tensor is made for: `T` of `T*h`."""
    return x.symbol.split("*", 1)[0]


def cast(g: Graph, x: Tensor, width: float) -> Tensor:
    """The tensor in another number format; itself if it has it already."""
    return x if x.bytes == width else g.op(Made(x.symbol, width), [x])


def copied(g: Graph, x: Tensor, symbol: str | None = None) -> Tensor:
    """A copy in another layout, or a product with a constant: nothing is kept."""
    return g.op(Made(symbol or x.symbol, x.bytes), [x])


def total(g: Graph, x: Tensor, y: Tensor) -> Tensor:
    """The sum of two tensors, in the wider of their formats."""
    return g.op(Made(x.symbol, max(x.bytes, y.bytes)), [x, y], passes=x.bytes == y.bytes)


def product(g: Graph, x: Tensor, y: Tensor) -> Tensor:
    """The product of two tensors: each is kept for the other's gradient."""
    kept = [*[x] * y.needs_grad, *[y] * x.needs_grad]
    return g.op(Made(x.symbol, max(x.bytes, y.bytes)), [x, y], saves=kept)


def sliced(g: Graph, x: Tensor, parts: Sequence[str]) -> list[Tensor]:
    """Slices of one tensor; the gradient of each is laid into a whole of its own."""
    return [g.op(Made(part, x.bytes), [x], into=x.storage) for part in parts]


# --- norms ---


def rms_norm(g: Graph, x: Tensor, code: str, *, trains: bool, fused: bool = False) -> Tensor:
    """Root-mean-square norm, as `Code.norm` says.

    Args:
        fused: by a kernel that keeps its input only.
    Source: LlamaRMSNorm, Olmo2RMSNorm, Gemma2RMSNorm, T5LayerNorm in transformers 5.23.
    """
    width = inner(x)
    if fused:
        return g.op(x.shape, [x], saves=[x], parameters=[Made(width, x.bytes)] * trains)
    wide = cast(g, x, FP32)
    square = g.op(wide.shape, [wide], saves=[wide], temporaries=[wide.shape] * 2)
    root = g.op(Made("T", FP32), [square])
    del square
    if code == "narrow":
        del wide
        wide = x
    spread = Made(x.symbol, FP32)
    normed = g.op(spread, [wide, root], saves=[wide, root], temporaries=[spread])
    del wide, root
    if code == "scale-last" or code == "narrow":
        normed = cast(g, normed, x.bytes)
    weight = [Made(width, normed.bytes)] * trains
    kept = [normed] * trains
    scaled = g.op(normed.shape, [normed], saves=kept, parameters=weight)
    del normed, kept
    return cast(g, scaled, x.bytes)


def layer_norm(g: Graph, x: Tensor, code: str, *, trains: bool) -> Tensor:
    """Layer norm: by torch's kernel, which keeps its input, or spelt out in fp32.

    Source: aten::native_layer_norm; CohereLayerNorm, OlmoLayerNorm in transformers 5.23.
    """
    weight = [Made(inner(x), 2 * x.bytes)] * trains
    if code != "fp32":
        moments = g.new(Made("T", 2 * FP32)).storage
        return g.op(x.shape, [x], saves=[x, moments], parameters=weight)
    wide = cast(g, x, FP32)
    mean = g.op(Made("T", FP32), [wide])
    apart = g.op(wide.shape, [wide, mean])
    square = g.op(wide.shape, [apart], saves=[apart])
    del apart
    root = g.op(Made("T", FP32), [square])
    del square
    again = g.op(wide.shape, [wide, mean])
    wide = g.op(again.shape, [again, root], saves=[again, root])
    del again, root, mean
    scaled = g.op(wide.shape, [wide], saves=[wide] * trains, parameters=weight)
    del wide
    return cast(g, scaled, x.bytes)


def plain_norm(g: Graph, x: Tensor) -> Tensor:
    """Layer norm without weights, in fp32."""
    wide = cast(g, x, FP32)
    moments = g.new(Made("T", 2 * FP32)).storage
    normed = g.op(wide.shape, [wide], saves=[wide, moments])
    del wide
    return cast(g, normed, x.bytes)


# --- linear layers ---


def linear(
    g: Graph,
    x: Tensor,
    out: str,
    *,
    weight: float,
    compute: float,
    trains: bool,
    bias: bool,
    gives: float | None = None,
    name: str = "",
) -> Tensor:
    """A matrix product: keeps its input if its weights train.

    Args:
        out: width of the output, such as `f`.
        weight, compute: bytes of a weight, and of an operand of the product (autocast: fewer).
        gives: bytes of a number of the output, where it is not as computed.
        name: tells weights of one shape apart.
    """
    x = cast(g, x, compute)
    matrix = f"{inner(x)}*{out}"
    grads = [Made(matrix, weight), *[Made(out, weight)] * bias] * trains
    casts = compute < weight
    own = [Made(matrix, compute)] * (trains and casts)
    copy = g.casted(name, Made(matrix, compute)) if casts else []
    made = Made(f"{rows(x)}*{out}", compute if gives is None else gives)
    return g.op(made, [x], saves=[*[x] * trains, *copy], parameters=grads, temporaries=own)


# --- activations ---


def kept(g: Graph, x: Tensor) -> Tensor:
    """An operation that keeps its output, in the shape and format of its input."""
    out = Storage(g, (g.line, x.symbol), x.bytes)
    return g.op(x.shape, [x], saves=[out], into=out)


def dropped(g: Graph, x: Tensor) -> Tensor:
    """Dropout: keeps a mask of one byte a number; nothing happens where nothing is learnt.

    A processor multiplies by noise as wide as the numbers, and keeps that.

    Source: aten/src/ATen/native/Dropout.cpp (is_fused_kernel_acceptable).
    """
    if not g.learns:
        return x
    mask = Storage(g, (g.line, x.symbol), x.bytes if g.noise else BYTE)
    return g.op(x.shape, [x], saves=[mask])


def clamped_product(g: Graph, gate: Tensor, up: Tensor) -> Tensor:
    """Gated product of clamped halves, the gate by its own sigmoid.

    Source: GptOssExperts._apply_gate in transformers 5.23.
    """
    gate = g.op(gate.shape, [gate], saves=[gate])
    up = g.op(up.shape, [up], saves=[up])
    bent = kept(g, copied(g, gate))
    gated = product(g, gate, bent)
    del gate, bent
    return product(g, copied(g, up), gated)


ACTIVATIONS = ("relu", "sigmoid", "tanh", "relu2", "gelu_new")
"""Those that keep something else than their input."""


def activated(g: Graph, x: Tensor, kind: str) -> Tensor:
    """The activation function: most keep their input, relu its output, gelu_new its steps.

    Source: transformers.activations 5.23.
    """
    if kind in ("relu", "sigmoid", "tanh"):
        return kept(g, x)
    if kind == "relu2":
        return g.op(x.shape, [x], saves=[kept(g, x)])
    if kind == "gelu_new":
        half = copied(g, x)
        cube = g.op(x.shape, [x], saves=[x], temporaries=[x.shape])
        cube = copied(g, cube)
        inside = total(g, x, cube)
        del cube
        inside = copied(g, inside)
        tanh = kept(g, inside)
        del inside
        one_more = g.op(x.shape, [tanh], passes=True)
        del tanh
        return product(g, half, one_more)
    return g.op(x.shape, [x], saves=[x])
