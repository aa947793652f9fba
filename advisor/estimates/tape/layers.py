"""The layers of a transformer as programs that count bytes: what each makes, keeps and frees.

Each function reads like the code of transformers 5.23 that it stands for, so that its variables
live as long.

Sizes in symbols: T tokens of the batch, S tokens that one attends to, h hidden, a heads,
q heads x head size, k key-value heads x head size, f width of the MLP, r rank.
"""

from collections.abc import Sequence

from advisor.estimates.tape.graph import Graph
from advisor.estimates.tape.tensors import Made, Storage, Tensor

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


# --- attention ---


def rotated(g: Graph, x: Tensor, code: str) -> Tensor:
    """Queries or keys with rotary positions, as `Code.rotation` says.

    Source: the functions apply_rotary_pos_emb of transformers 5.23.
    """
    if code in ("fp32", "complex"):
        width = x.bytes
        x = cast(g, x, FP32)
        turned = copied(g, x) if code == "complex" else _halves(g, x)
        return cast(g, turned, width)
    if code in ("part", "pairs"):
        return copied(g, _halves(g, x))
    return _halves(g, x)


def _halves(g: Graph, x: Tensor) -> Tensor:
    cosine = copied(g, x)
    turned = g.op(x.shape, [x], temporaries=[x.shape])
    sine = copied(g, turned)
    del turned
    return total(g, cosine, sine)


def fused_attention(g: Graph, q: Tensor, k: Tensor, v: Tensor, mask: str | None = None) -> Tensor:
    """Attention without its scores: keeps queries, keys, values, output and the log-sums.

    Args:
        mask: size of a mask or bias that is added to the scores, and kept.

    Source: https://arxiv.org/abs/2205.14135; aten::_scaled_dot_product_flash_attention.
    """
    sums = g.new(Made("T*a", FP32)).storage
    shape = Made(v.symbol if v.symbol == "T*o" else q.symbol, q.bytes)
    out = Storage(g, (g.line, shape.symbol), shape.bytes)
    sums_of_queries = [Made(q.symbol, FP32), Made("T*a", FP32)]
    every_head = [Made(q.symbol, q.bytes)] * 2 * (k.symbol != q.symbol)
    masks = []
    if mask:
        # Zeros, and what fills them.
        zeros = g.new(Made(mask, q.bytes))
        masks.append(Storage(g, (g.line, mask), q.bytes))
        del zeros
    return g.op(shape, [q, k, v], saves=[q, k, v, out, sums, *masks], into=out,
                temporaries=[*sums_of_queries, *every_head])  # fmt: skip


def eager_attention(
    g: Graph,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    upcasts: bool,
    repeats: bool,
    dropout: bool,
    softcap: bool,
    masked: bool,
    width: float,
    returns: bool = False,
) -> Tensor:
    """Attention that forms its scores and keeps their softmax.

    Args:
        width: bytes of a number of the softmax that multiplies the values.
        returns: the block hands its scores on.

    Source: the functions eager_attention_forward of transformers 5.23.
    """
    if repeats:
        k = copied(g, k, q.symbol)
        v = copied(g, v, q.symbol)
    scores = Made("T*S*a", q.bytes)
    weights = copied(g, g.op(scores, [q, k], saves=[q, k]))
    if softcap:
        weights = copied(g, weights)
        weights = _kept(g, weights)
        weights = copied(g, weights)
    if masked:
        weights = g.op(scores, [weights], passes=True)
    weights = cast(g, softmax(g, weights, upcasts=upcasts), width)
    if dropout:
        weights = dropped(g, weights)
    if returns and not g.recording:
        g.scores = weights
    mixed = Made(v.symbol if v.symbol == "T*o" else q.symbol, width)
    out = g.op(mixed, [weights, v], saves=[weights, v])
    return copied(g, out)


def math_attention(g: Graph, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention by plain mathematics in fp32.

    Source: aten::_scaled_dot_product_attention_math.
    """
    width = q.bytes
    q, k, v = (cast(g, x, FP32) for x in (q, k, v))
    q, k, v = copied(g, q), copied(g, k, q.symbol), copied(g, v, q.symbol)
    weights = g.op(Made("T*S*a", FP32), [q, k], saves=[q, k])
    weights = g.op(weights.shape, [weights], passes=True)
    weights = _kept(g, weights)
    out = g.op(q.shape, [weights, v], saves=[weights, v])
    return copied(g, cast(g, out, width))


def sink_attention(g: Graph, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention with a learned sink beside the scores: their softmax is kept as it is.

    Source: eager_attention_forward of gpt-oss in transformers 5.23.
    """
    k, v = copied(g, k, q.symbol), copied(g, v, q.symbol)
    scores = Made("T*S*a", q.bytes)
    weights = copied(g, g.op(scores, [q, k], saves=[q, k]))
    weights = g.op(scores, [weights], passes=True)
    weights = copied(g, weights)
    weights = copied(g, weights)
    weights = _kept(g, weights)
    return copied(g, g.op(q.shape, [weights, v], saves=[weights, v]))


def disentangled_attention(g: Graph, q: Tensor, k: Tensor, v: Tensor, *, dropout: bool) -> Tensor:
    """Attention whose queries and keys are also compared with relative positions, both ways.

    Source: DisentangledSelfAttention in transformers 5.23.
    """
    scores = Made("T*S*a", q.bytes)
    scaled = copied(g, k)
    weights = g.op(scores, [q, scaled], saves=[q, scaled])
    del scaled
    positions = g.new(Made("D*h", q.bytes))
    bias = None
    tables = [g.new(Made("B*D*q", q.bytes)) for _ in "qk"]
    for x, table in zip((q, k), tables, strict=True):
        raw = g.op(Made("T*D*a", x.bytes), [x], saves=[table, x, positions])
        index = Storage(g, (g.line, "M"), 8.0)
        chosen = g.op(scores, [raw], saves=[index])
        del raw, index
        part = copied(g, chosen)
        del chosen
        bias = copied(g, part) if bias is None else g.op(
            scores, [bias, part], passes=True, into=bias.storage)  # fmt: skip
        del part
    assert bias is not None
    weights = total(g, weights, bias)
    del bias, positions, tables, table
    mask = Storage(g, (g.line, "T*S"), BYTE)
    weights = g.op(scores, [weights], saves=[mask])
    weights = softmax(g, weights, upcasts=False)
    if dropout:
        weights = dropped(g, weights)
    return copied(g, g.op(q.shape, [weights, v], saves=[weights, v]))


def softmax(g: Graph, x: Tensor, *, upcasts: bool) -> Tensor:
    """Softmax of scores: keeps what it gives, in fp32 if it is computed so.

    Source: aten::_softmax reads 16-bit scores without an upcast copy.
    """
    width = x.bytes
    shape = Made(x.symbol, FP32 if upcasts else width)
    out = Storage(g, (g.line, shape.symbol), shape.bytes)
    return cast(g, g.op(shape, [x], saves=[out], into=out), width)


def _kept(g: Graph, x: Tensor) -> Tensor:
    """An operation that keeps its output."""
    out = Storage(g, (g.line, x.symbol), x.bytes)
    return g.op(x.shape, [x], saves=[out], into=out)


def dropped(g: Graph, x: Tensor) -> Tensor:
    """Dropout: keeps a mask of one byte a number."""
    mask = Storage(g, (g.line, x.symbol), BYTE)
    return g.op(x.shape, [x], saves=[mask])


def clamped_product(g: Graph, gate: Tensor, up: Tensor) -> Tensor:
    """Gated product of clamped halves, the gate by its own sigmoid.

    Source: GptOssExperts._apply_gate in transformers 5.23.
    """
    gate = g.op(gate.shape, [gate], saves=[gate])
    up = g.op(up.shape, [up], saves=[up])
    bent = _kept(g, copied(g, gate))
    gated = product(g, gate, bent)
    del gate, bent
    return product(g, copied(g, up), gated)


# --- activations ---


def activated(g: Graph, x: Tensor, kind: str) -> Tensor:
    """The activation function: most keep their input, relu its output, gelu_new its steps.

    Source: transformers.activations 5.23.
    """
    if kind in ("relu", "sigmoid", "tanh"):
        return _kept(g, x)
    if kind == "relu2":
        return g.op(x.shape, [x], saves=[_kept(g, x)])
    if kind == "gelu_new":
        half = copied(g, x)
        cube = g.op(x.shape, [x], saves=[x], temporaries=[x.shape])
        cube = copied(g, cube)
        inside = total(g, x, cube)
        del cube
        inside = copied(g, inside)
        tanh = _kept(g, inside)
        del inside
        one_more = g.op(x.shape, [tanh], passes=True)
        del tanh
        return product(g, half, one_more)
    return g.op(x.shape, [x], saves=[x])
