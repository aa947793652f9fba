"""Attention as programs that count bytes, one for each way in which it is computed.

Sizes in symbols: T tokens of the batch, S tokens that one attends to, M their square, a heads,
q heads x head size, k key-value heads x head size.
"""

from advisor.estimates.tape import layers
from advisor.estimates.tape.graph import Graph
from advisor.estimates.tape.tensors import Made, Storage, Tensor


def rotated(g: Graph, x: Tensor, code: str) -> Tensor:
    """Queries or keys with rotary positions, as `Code.rotation` says.

    Source: the functions apply_rotary_pos_emb of transformers 5.23.
    """
    if code in ("fp32", "complex"):
        width = x.bytes
        x = layers.cast(g, x, layers.FP32)
        turned = layers.copied(g, x) if code == "complex" else _halves(g, x)
        return layers.cast(g, turned, width)
    if code in ("part", "pairs"):
        return layers.copied(g, _halves(g, x))
    return _halves(g, x)


def _halves(g: Graph, x: Tensor) -> Tensor:
    cosine = layers.copied(g, x)
    turned = g.op(x.shape, [x], temporaries=[x.shape])
    sine = layers.copied(g, turned)
    del turned
    return layers.total(g, cosine, sine)


def fused_attention(g: Graph, q: Tensor, k: Tensor, v: Tensor, mask: str | None = None) -> Tensor:
    """Attention without its scores: keeps queries, keys, values, output and the log-sums.

    Args:
        mask: size of a mask or bias that is added to the scores, and kept.

    Source: https://arxiv.org/abs/2205.14135; aten::_scaled_dot_product_flash_attention.
    """
    sums = g.new(Made("T*a", layers.FP32)).storage
    shape = Made(v.symbol if v.symbol == "T*o" else q.symbol, q.bytes)
    out = Storage(g, (g.line, shape.symbol), shape.bytes)
    sums_of_queries = [Made(q.symbol, layers.FP32), Made("T*a", layers.FP32)]
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
    returns: str = "no",
    wide: bool = False,
    apart: bool = False,
) -> Tensor:
    """Attention that forms its scores and keeps their softmax.

    Args:
        width: bytes of a number of the softmax that multiplies the values.
        returns: what the block hands on: see `Code.returns_scores`.
        wide: a bias in fp32 is added to the scores.
        apart: the softmax is narrowed when the scores are gone.

    Source: the functions eager_attention_forward of transformers 5.23.
    """
    if repeats:
        k = layers.copied(g, k, q.symbol)
        v = layers.copied(g, v, q.symbol)
    scores = Made("T*S*a", q.bytes)
    weights = layers.copied(g, g.op(scores, [q, k], saves=[q, k]))
    if softcap:
        weights = layers.copied(g, weights)
        weights = layers.kept(g, weights)
        weights = layers.copied(g, weights)
    if wide:
        weights = layers.cast(g, weights, layers.FP32)
        scores = weights.shape
    first = weights if returns == "scores" else None
    if masked:
        weights = g.op(scores, [weights], passes=True)
    if apart:
        weights = softmax(g, weights, upcasts=upcasts)
        weights = layers.cast(g, weights, width)
    else:
        weights = layers.cast(g, softmax(g, weights, upcasts=upcasts), width)
    if dropout:
        weights = layers.dropped(g, weights)
    del first
    if returns != "no" and not g.recording:
        g.scores = weights
    mixed = Made(v.symbol if v.symbol == "T*o" else q.symbol, width)
    out = g.op(mixed, [weights, v], saves=[weights, v])
    return layers.copied(g, out)


def math_attention(g: Graph, q: Tensor, k: Tensor, v: Tensor, *, dropout: bool) -> Tensor:
    """Attention by plain mathematics in fp32.

    Source: aten::_scaled_dot_product_attention_math.
    """
    width = q.bytes
    q, k, v = (layers.cast(g, x, layers.FP32) for x in (q, k, v))
    # Keys and values are written out for every head unless the batch is one sequence.
    q, k, v = layers.copied(g, q), layers.copied(g, k, "T*j"), layers.copied(g, v, "T*j")
    weights = g.op(Made("T*S*a", layers.FP32), [q, k], saves=[q, k])
    weights = g.op(weights.shape, [weights], passes=True)
    weights = layers.kept(g, weights)
    if dropout:
        weights = layers.dropped(g, weights)
    out = g.op(q.shape, [weights, v], saves=[weights, v])
    return layers.copied(g, layers.cast(g, out, width))


def sink_attention(g: Graph, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention with a learned sink beside the scores: their softmax is kept as it is.

    Source: eager_attention_forward of gpt-oss in transformers 5.23.
    """
    k, v = layers.copied(g, k, q.symbol), layers.copied(g, v, q.symbol)
    scores = Made("T*S*a", q.bytes)
    weights = layers.copied(g, g.op(scores, [q, k], saves=[q, k]))
    masked = g.op(scores, [weights], passes=True)
    del weights
    joined = layers.copied(g, masked)
    joined = layers.copied(g, joined)
    weights = layers.kept(g, joined)
    return layers.copied(g, g.op(q.shape, [weights, v], saves=[weights, v]))


def disentangled_attention(
    g: Graph, q: Tensor, k: Tensor, v: Tensor, places: tuple[Tensor, Tensor], *, dropout: bool
) -> Tensor:
    """Attention whose queries and keys are also compared with relative positions, both ways.

    Args:
        places: relative positions as keys and as queries, D rows of each.

    Source: DisentangledSelfAttention in transformers 5.23.
    """
    scores = Made("T*S*a", q.bytes)
    scaled = layers.copied(g, k)
    weights = g.op(scores, [q, scaled], saves=[q, scaled])
    del scaled
    bias = None
    tables = [g.op(Made("B*D*q", q.bytes), [place]) for place in places]
    gathered: list[Tensor] = []
    for x, table in zip((q, k), tables, strict=True):
        kept = [*[table] * x.needs_grad, *[x] * table.needs_grad]
        raw = g.op(Made("T*D*a", x.bytes), [x, table], saves=kept)
        index = Storage(g, (g.line, "M"), 8.0)
        chosen = g.op(scores, [raw], saves=[index])
        gathered.append(chosen)
        del raw, index
        part = layers.copied(g, chosen)
        del chosen
        bias = layers.copied(g, part) if bias is None else g.op(
            scores, [bias, part], passes=True, into=bias.storage)  # fmt: skip
        del part
    assert bias is not None
    weights = layers.total(g, weights, bias)
    del bias, tables, table, gathered, kept
    mask = Storage(g, (g.line, "T*S"), layers.BYTE)
    weights = g.op(scores, [weights], saves=[mask])
    weights = softmax(g, weights, upcasts=False)
    if dropout:
        weights = layers.dropped(g, weights)
    return layers.copied(g, g.op(q.shape, [weights, v], saves=[weights, v]))


def softmax(g: Graph, x: Tensor, *, upcasts: bool) -> Tensor:
    """Softmax of scores: keeps what it gives, in fp32 if it is computed so.

    Source: aten::_softmax reads 16-bit scores without an upcast copy.
    """
    width = x.bytes
    shape = Made(x.symbol, layers.FP32 if upcasts else width)
    out = Storage(g, (g.line, shape.symbol), shape.bytes)
    return layers.cast(g, g.op(shape, [x], saves=[out], into=out), width)
