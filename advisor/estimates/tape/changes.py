"""What a parameter-efficient method does to a linear layer or a sublayer, as programs.

Source: the layers of PEFT 0.21; https://arxiv.org/abs/1902.00751 (sequential adapters),
https://arxiv.org/abs/2110.04366 (parallel ones).
"""

from typing import NamedTuple

from advisor.estimates.tape import attention, layers
from advisor.estimates.tape.graph import Graph
from advisor.estimates.tape.tensors import Made, Tensor


class Change(NamedTuple):
    """A method's change, sizes apart; the fields are those of `knowledge.methods.Method`.

    `added`: bytes of an added number; `computed`: of one that its products are computed in, fewer
    under autocast. `drops`: adapters drop inputs, so that each keeps its own
    copy and a mask. `keeps_plain`: an input kept as it comes, in the model's format. `by_token`,
    `by_target`: whether the method keeps numbers for each target and token, or for each target
    whatever the batch.
    """

    acts: str
    roles: frozenset[str]
    added: float
    computed: float
    drops: bool
    keeps_input: bool
    keeps_plain: bool
    keeps_output: bool
    keeps_change: bool
    by_token: bool
    by_target: bool


def changed(g: Graph, c: Change, role: str, x: Tensor, y: Tensor, out: str) -> Tensor:
    """The output of a changed linear layer."""
    match c.acts:
        case "low-rank":
            return _low_rank(g, c, role, x, y, out)
        case "magnitude":
            return _magnitude(g, c, x, y, out)
        case "kept":
            return _kept(g, c, role, x, y, out)
        case "scales" if role != "down":
            return _scaled(g, c, y, out)
        case _:
            return y


def read(g: Graph, c: Change, role: str, x: Tensor) -> Tensor:
    """The input of a linear layer, scaled where the method scales inputs."""
    if c.acts != "scales" or role != "down":
        return x
    wide = layers.cast(g, x, c.added)
    grads = [Made(layers.inner(x), c.added)]
    return layers.cast(g, g.op(wide.shape, [wide], saves=[wide], parameters=grads), x.bytes)


def _pair(g: Graph, c: Change, x: Tensor, out: str) -> Tensor:
    """Down to the rank and up again."""
    return _product(g, c, _product(g, c, x, "r"), out)


def _dropped(g: Graph, c: Change, x: Tensor) -> Tensor:
    return layers.dropped(g, x) if c.drops else x


def _product(g: Graph, c: Change, x: Tensor, out: str, *, bias: bool = False) -> Tensor:
    """By an added matrix."""
    return layers.linear(
        g, x, out, weight=c.added, compute=c.computed, trains=True, bias=bias,
        name=f"added {len(g.cached)}",
    )  # fmt: skip


def _low_rank(g: Graph, c: Change, role: str, x: Tensor, y: Tensor, out: str) -> Tensor:
    """LoRA: lora.Linear.forward in PEFT; AdaLoRA keeps a scaled factor for each target."""
    width = y.bytes
    wide = layers.cast(g, x, c.added)
    low = _pair(g, c, _dropped(g, c, wide), out)
    if c.by_target and low.node is not None:
        low.node.saved.append(g.new(Made(f"K:{role}", c.added)).storage)
    scaled = layers.copied(g, low)
    del low
    y = layers.total(g, y, scaled)
    del scaled, wide
    return layers.cast(g, y, width)


def _magnitude(g: Graph, c: Change, x: Tensor, y: Tensor, out: str) -> Tensor:
    """DoRA: the base's output and the low-rank one are both scaled by trained magnitudes."""
    width = y.bytes
    wide = _dropped(g, c, layers.cast(g, x, c.added))
    low = _pair(g, c, wide, out)
    magnitude = [Made(out, c.added)]
    base = _again(g, c, wide, y, out)
    first = g.op(Made(y.symbol, c.added), [base], saves=[base], parameters=magnitude)
    del base
    second = layers.copied(g, g.op(Made(low.symbol, c.added), [low], saves=[low]))
    del low
    both = layers.total(g, first, second)
    del first, second, wide
    y = layers.total(g, y, both)
    return layers.cast(g, y, width)


def _again(g: Graph, c: Change, x: Tensor, y: Tensor, out: str) -> Tensor:
    """The base's output for DoRA: of dropped inputs, or without its bias."""
    if c.computed == c.added:
        return layers.copied(g, y) if c.drops else y
    if c.drops:
        return layers.linear(
            g, x, out, weight=c.added, compute=c.computed, trains=False, bias=False,
            name=f"again {len(g.cached)}",
        )  # fmt: skip
    return layers.cast(g, y, c.added)


def _kept(g: Graph, c: Change, role: str, x: Tensor, y: Tensor, out: str) -> Tensor:
    """A change known by what it keeps for the backward pass."""
    width = y.bytes
    wide = layers.cast(g, x, c.added)
    kept = [*[wide] * c.keeps_input, *[x] * c.keeps_plain, *[y] * c.keeps_output]
    kept += [g.new(Made(f"{layers.rows(x)}*t:{role}", c.added))] * c.by_token
    kept += [g.new(Made(f"K:{role}", width if c.keeps_plain else c.added))] * c.by_target
    grads = [Made(f"A:{role}", c.added)]
    made = Made(f"{layers.rows(x)}*{out}", c.added)
    more = g.op(made, [wide], saves=kept, parameters=grads)
    del wide, kept
    if c.keeps_change:
        more = g.op(more.shape, [more], saves=[more])
    return layers.cast(g, layers.total(g, y, more), width)


def _scaled(g: Graph, c: Change, y: Tensor, out: str) -> Tensor:
    """IA3: the output is scaled by trained numbers."""
    wide = g.op(Made(y.symbol, c.added), [y], saves=[y], parameters=[Made(out, c.added)])
    return layers.cast(g, wide, y.bytes)


def sublayer(g: Graph, c: Change, x: Tensor, entered: Tensor, *, attention: bool) -> Tensor:
    """What leaves a sublayer, with a bottleneck adapter after or beside it if there is one.

    Source: https://arxiv.org/abs/1902.00751, figure 2 (after both sublayers);
        https://arxiv.org/abs/2110.04366, section 4 (beside the feed-forward one).
    """
    if c.acts == "after":
        return layers.total(g, x, _bottleneck(g, c, x))
    if c.acts == "beside" and not attention:
        return layers.total(g, x, _bottleneck(g, c, entered))
    return x


def _bottleneck(g: Graph, c: Change, x: Tensor) -> Tensor:
    width = x.bytes
    wide = layers.cast(g, x, c.added)
    inside = _product(g, c, wide, "b", bias=True)
    del wide
    inside = layers.activated(g, inside, "relu")
    out = _product(g, c, inside, "h", bias=True)
    del inside
    return layers.cast(g, out, width)


def prefixed(g: Graph, c: Change, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values behind those of a trained prefix, as a cache hands them on."""
    grads = [Made("v*k", c.added)]
    return (
        g.op(Made("T*k", k.bytes), [k], parameters=grads),
        g.op(Made("T*k", v.bytes), [v], parameters=grads),
    )


def prompted(g: Graph, c: Change, q: Tensor) -> Tensor:
    """What attention to trained prompts adds, gated by a trained number.

    Source: AdaptedAttention.forward in PEFT 0.21.
    """
    grads = [Made("v*h", c.added)]
    keys = g.op(Made("B*v*q", q.bytes), [], parameters=grads)
    values = layers.copied(g, keys)
    again = layers.copied(g, q)
    scores = Made("T*v*a", q.bytes)
    weights = layers.copied(g, g.op(scores, [again, keys], saves=[again, keys]))
    weights = attention.softmax(g, weights, upcasts=True)
    gated = g.op(scores, [weights], saves=[weights])
    return layers.copied(g, g.op(q.shape, [gated, values], saves=[gated, values]))
