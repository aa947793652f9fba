"""A transformer's blocks as programs over tensors that count bytes (see `graph`).

One program serves all families: which steps it takes follows from the architecture's fields and
from `Code`. Engines with kernels of their own skip steps.
"""

from advisor.estimates.tape import attention, changes, layers
from advisor.estimates.tape.graph import Graph
from advisor.estimates.tape.shape import Shape
from advisor.estimates.tape.tensors import Made, Tensor

WIDTHS = {
    "q": "q", "k": "k", "v": "k", "o": "h", "qkv": "n", "gate": "f", "up": "f", "down": "h",
    "gate_up": "g", "cross_q": "q", "cross_k": "k", "cross_v": "k", "cross_o": "h",
    "q_a": "u", "q_b": "q", "kv_a": "c", "kv_b": "w", "shared_gate": "x", "shared_up": "x",
    "shared_down": "h", "head": "V",
}  # fmt: skip
"""The width that each linear gives, as a symbol."""
MERGED = {"qkv": {"qkv", "q", "k", "v"}, "gate_up": {"gate_up", "gate", "up"}}


class Transformer:
    """One block of a stack; `cross` attends to another stack's output too."""

    def __init__(self, shape: Shape, *, trains: bool, sparse: bool = False, cross: bool = False,
                 causal: bool = True, masked: bool = False, new: bool = False) -> None:  # fmt: skip
        self.s, self.sparse, self.cross, self.causal = shape, sparse, cross, causal
        self.masked = masked or shape.code.masked
        self.base = trains and (shape.base or new)
        self.norms = trains and (shape.norms or new)
        self.change = shape.change if trains else None

    def __call__(self, g: Graph, x: Tensor, *memory: Tensor) -> Tensor:
        """The block's output."""
        order = {
            "pre": self._pre, "post": self._post, "after": self._after,
            "sandwich": self._sandwich, "parallel": self._parallel,
            "parallel-two": self._parallel,
        }[self.s.order]  # fmt: skip
        return order(g, x, *memory)

    # --- orders of norm, sublayer and sum ---

    def _pre(self, g: Graph, x: Tensor, *memory: Tensor) -> Tensor:
        residual = x
        x = self.norm(g, x)
        x = self._attended(g, x)
        x = layers.total(g, residual, x)
        if self.cross:
            residual = x
            x = self.norm(g, x)
            x = self._attended(g, x, *memory)
            x = layers.total(g, residual, x)
        residual = x
        x = self.norm(g, x)
        x = self._fed(g, x)
        return layers.total(g, residual, x)

    def _post(self, g: Graph, x: Tensor, *memory: Tensor) -> Tensor:
        residual = x
        x = self._attended(g, x)
        x = self.norm(g, layers.total(g, residual, x))
        if self.cross:
            residual = x
            x = self._attended(g, x, *memory)
            x = self.norm(g, layers.total(g, residual, x))
        residual = x
        x = self._fed(g, x)
        x = self.norm(g, layers.total(g, residual, x))
        g.inner = None
        return x

    def _after(self, g: Graph, x: Tensor) -> Tensor:
        residual = x
        x = self._attended(g, x)
        x = self.norm(g, x)
        x = layers.total(g, residual, x)
        residual = x
        x = self._fed(g, x)
        x = self.norm(g, x)
        return layers.total(g, residual, x)

    def _sandwich(self, g: Graph, x: Tensor) -> Tensor:
        residual = x
        x = self.norm(g, x)
        x = self._attended(g, x)
        x = self.norm(g, x)
        x = layers.total(g, residual, x)
        residual = x
        x = self.norm(g, x)
        x = self._fed(g, x)
        x = self.norm(g, x)
        return layers.total(g, residual, x)

    def _parallel(self, g: Graph, x: Tensor) -> Tensor:
        residual = x
        x = self.norm(g, x)
        attended = self._attended(g, x)
        if self.s.order == "parallel-two":
            x = self.norm(g, residual)
        x = self._fed(g, x)
        x = layers.total(g, attended, x)
        return layers.total(g, x, residual)

    def _attended(self, g: Graph, x: Tensor, *memory: Tensor) -> Tensor:
        entered = x
        x = self.attention(g, x, *memory)
        return self._left(g, x, entered, attention=True)

    def _fed(self, g: Graph, x: Tensor) -> Tensor:
        entered = x
        x = self.experts(g, x) if self.sparse else self.mlp(g, x)
        return self._left(g, x, entered, attention=False)

    def _left(self, g: Graph, x: Tensor, entered: Tensor, *, attention: bool) -> Tensor:
        """What leaves a sublayer: adapted, scaled, dropped out."""
        if self.change is not None:
            x = changes.sublayer(g, self.change, x, entered, attention=attention)
        del entered
        if self.s.code.scaled_residual:
            x = layers.copied(g, x)
        return layers.dropped(g, x) if self.s.dropout else x

    # --- parts ---

    def norm(self, g: Graph, x: Tensor) -> Tensor:
        """A norm over whatever the tensor holds for each token."""
        s = self.s
        if s.norm == "rms":
            return layers.rms_norm(g, x, s.code.norm, trains=self.norms, fused=s.fused_norm)
        if s.norm == "plain":
            return layers.plain_norm(g, x)
        return layers.layer_norm(g, x, s.code.norm, trains=self.norms)

    def linear(self, g: Graph, role: str, x: Tensor) -> Tensor:
        """A linear layer with what the method adds to it."""
        s = self.s
        bias = {"attention": s.qkv_bias, "o": s.o_bias, "mlp": s.mlp_bias}[_family(role)]
        if s.quantised_input and self.change is not None:
            g.keep(x, s.quantised_input)
        change = self.change
        if change is not None and not (change.roles & MERGED.get(role, {role})):
            change = None
        if change is not None:
            x = changes.read(g, change, role, x)
        y = layers.linear(
            g, x, WIDTHS[role], weight=s.weight, compute=s.compute, trains=self.base, bias=bias,
            name=f"{id(self)} {role}",
        )  # fmt: skip
        return y if change is None else changes.changed(g, change, role, x, y, WIDTHS[role])

    def attention(self, g: Graph, x: Tensor, *memory: Tensor) -> Tensor:
        """Self attention, or attention to the memory."""
        s = self.s
        if s.latent:
            q, k, v = self._latent(g, x)
        else:
            q, k, v = self._projected(g, x, *memory)
        acts = "" if self.change is None else self.change.acts
        if self.change is not None and acts == "prefix" and not memory:
            k, v = changes.prefixed(g, self.change, k, v)
        x = self._mixed(g, q, k, v, cross=bool(memory))
        if self.change is not None and acts == "prompts" and not memory:
            more = self.linear(g, "o", changes.prompted(g, self.change, q))
            del q, k, v
            return layers.total(g, self.linear(g, "o", x), more)
        del q, k, v
        return self.linear(g, "cross_o" if memory else "o", x)

    def _projected(self, g: Graph, x: Tensor, *memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        s = self.s
        if s.code.fused_read != "apart" and not memory:
            whole = self.linear(g, "qkv", x)
            parts = layers.sliced if s.code.fused_read == "slices" else Graph.parts
            q, k, v = parts(g, whole, ("T*q", "T*k", "T*k"))
            del whole
            if s.code.fused_read == "copies":
                k, v = layers.copied(g, k), layers.copied(g, v)
        else:
            read, cross = (memory[0], "cross_") if memory else (x, "")
            q = self.linear(g, f"{cross}q", x)
            k = self.linear(g, f"{cross}k", read)
            v = self.linear(g, f"{cross}v", read)
        if s.code.scaled_queries and not s.rotary:
            q = layers.copied(g, q)
        if s.qk_norm:
            q = self.norm(g, q)
            k = self.norm(g, k)
        if s.rotary and not memory:
            q2 = attention.rotated(g, q, s.code.rotation)
            k2 = attention.rotated(g, k, s.code.rotation)
            q, k = q2, k2
            del q2, k2
            if s.code.scaled_queries:
                q = layers.copied(g, q)
        if s.code.caches and self.cross:
            k, v = layers.copied(g, k), layers.copied(g, v)
        return q, k, v

    def _latent(self, g: Graph, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values by way of low ranks.

        Source: DeepseekV3Attention in transformers 5.23.
        """
        s = self.s
        if s.ranked_queries:
            q = self.linear(g, "q_b", self.norm(g, self.linear(g, "q_a", x)))
        else:
            q = self.linear(g, "q", x)
        still, turning = g.parts(q, ("T*qn", "T*qr"))
        small = self.linear(g, "kv_a", x)
        content, place = g.parts(small, ("T*cn", "T*cr"))
        content = self.norm(g, content)
        turned = attention.rotated(g, turning, s.code.rotation)
        shared = attention.rotated(g, place, s.code.rotation)
        del turning, place
        queries = g.op(Made("T*q", q.bytes), [still, turned], passes=True)
        keys_values = self.linear(g, "kv_b", content)
        keys, values = g.parts(keys_values, ("T*qn", "T*o"))
        whole = g.op(Made("T*q", q.bytes), [keys, shared], passes=True)
        return queries, whole, values

    def _mixed(self, g: Graph, q: Tensor, k: Tensor, v: Tensor, *, cross: bool) -> Tensor:
        s = self.s
        kind = s.code.attention
        if kind == "any" and s.spelt_out and not s.eager:
            kind = "math"
        if kind == "any" and not s.eager:
            if s.repeats_kv and s.grouped:
                k, v = layers.copied(g, k, q.symbol), layers.copied(g, v, q.symbol)
            written = self.masked or (self.change is not None and self.change.acts == "prefix")
            mask = "M*a" if s.code.biased and not cross else "T*S" if written else None
            if written and s.grouped:
                k, v = layers.copied(g, k, q.symbol), layers.copied(g, v, q.symbol)
            out = attention.fused_attention(g, q, k, v, mask)
            # The flash kernel gives its output in the layout of joined queries.
            joined = s.latent or (s.rotary and s.code.rotation in ("part", "pairs"))
            flash = mask is None and q.bytes < layers.FP32
            return layers.copied(g, out) if joined and flash else out
        if kind == "math":
            return attention.math_attention(g, q, k, v, dropout=s.attention_dropout)
        if kind == "sinks":
            return attention.sink_attention(g, q, k, v)
        if kind == "wide":
            q, k = layers.cast(g, q, layers.FP32), layers.cast(g, k, layers.FP32)
        if kind == "disentangled":
            places = self._places(g)
            return attention.disentangled_attention(g, q, k, v, places, dropout=s.attention_dropout)
        return attention.eager_attention(
            g, q, k, v,
            upcasts=s.kind == "decoder",
            repeats=s.grouped, dropout=s.attention_dropout, softcap=s.softcap,
            masked=self.causal, width=s.compute, returns=s.code.returns_scores,
            wide=s.code.wide_scores, apart=kind == "wide",
        )  # fmt: skip

    def _places(self, g: Graph) -> tuple[Tensor, Tensor]:
        """Relative positions as keys and as queries: by the projections that words go through."""
        table = g.op(Made("D*h", self.s.compute), [], leaf=self.base)
        table = layers.dropped(g, table) if self.s.dropout else table
        with g.repeated():
            return self.linear(g, "k", table), self.linear(g, "q", table)

    def mlp(self, g: Graph, x: Tensor, prefix: str = "") -> Tensor:
        """The feed-forward block."""
        s = self.s
        if not s.gated:
            x = self.linear(g, "up", x)
            x = layers.activated(g, x, s.activation)
        elif s.fused_gate_up and not prefix:
            gate, up = g.parts(self.linear(g, "gate_up", x), ("T*f", "T*f"))
            x = layers.product(g, up, layers.activated(g, gate, s.activation))
            del gate, up
        elif s.fused_mlp:
            gate, up = self.linear(g, f"{prefix}gate", x), self.linear(g, f"{prefix}up", x)
            x = g.op(gate.shape, [gate, up], saves=[gate, up], temporaries=[gate.shape])
            del gate, up
        else:
            x = layers.product(
                g,
                layers.activated(g, self.linear(g, f"{prefix}gate", x), s.activation),
                self.linear(g, f"{prefix}up", x),
            )
        if s.code.inner_dropout and s.dropout:
            x = layers.dropped(g, x)
        if s.code.holds_inner:
            g.inner = x
        return self.linear(g, f"{prefix}down", x)

    def experts(self, g: Graph, x: Tensor) -> Tensor:
        """Routed experts by grouped products, with shared experts beside.

        Source: grouped_mm_experts_forward in transformers 5.23.
        """
        s = self.s
        shared = self.mlp(g, x, "shared_") if s.shared_experts and s.shared_gate else None
        weights = self._routed(g, x)
        chosen = g.op(Made("E*h", x.bytes), [x])
        both = self._grouped(g, chosen, "E*e2", "l*h*e2")
        gate, up = g.parts(both, ("E*e", "E*e"))
        del both
        if s.code.clamped_experts:
            inside = layers.clamped_product(g, gate, up)
        else:
            inside = layers.product(g, layers.activated(g, gate, s.activation), up)
        del gate, up
        out = self._grouped(g, inside, "E*h", "l*e*h")
        del inside
        kept = [out] if weights.needs_grad else []
        width = max(out.bytes, weights.bytes)
        weighted = g.op(Made(out.symbol, width), [out, weights], saves=[weights, *kept])
        del kept
        weighted = layers.copied(g, weighted)
        y = layers.cast(g, g.op(Made(x.symbol, width), [weighted]), x.bytes)
        del chosen, out, weights, weighted
        if s.shared_experts and shared is None:
            shared = self.mlp(g, x, "shared_")
        elif shared is not None:
            shared = g.op(shared.shape, [shared], saves=[shared] * self.base)
        return y if shared is None else layers.total(g, y, shared)

    def _routed(self, g: Graph, x: Tensor) -> Tensor:
        """Weights of the chosen experts: scores over all in fp32, the best of them."""
        scores = layers.linear(
            g, x, "l", weight=self.s.weight, compute=self.s.compute, trains=self.base, bias=False
        )
        scores = attention.softmax(g, scores, upcasts=True)
        width = layers.FP32 if self.s.code.wide_routing else scores.bytes
        return g.op(Made("E", width), [scores])

    def _grouped(self, g: Graph, x: Tensor, out: str, matrix: str) -> Tensor:
        weight = [Made(matrix, self.s.weight)] * self.base
        return g.op(Made(out, x.bytes), [x], saves=[x] * self.base, parameters=weight)


def _family(role: str) -> str:
    last = role.removeprefix("cross_").removeprefix("shared_")
    if last == "o":
        return "o"
    return "mlp" if last in ("gate", "up", "down", "gate_up") else "attention"
