"""Passes through a whole model, block by block, and the moments that may be their peak.

Equal blocks follow each other, so one of each kind is walked; what the others keep is added in
multiples. Of the backward passes of equal blocks the first and the last may be the peak, for what
is alive between them changes by the same amount from block to block.
"""

from functools import lru_cache
from typing import NamedTuple

from advisor.estimates.tape import layers, losses
from advisor.estimates.tape.blocks import Transformer
from advisor.estimates.tape.compared import Peak, leading
from advisor.estimates.tape.graph import Graph
from advisor.estimates.tape.shape import Shape
from advisor.estimates.tape.tensors import ACTIVATIONS, GRADIENTS, LOSS, Amounts, Made, Tensor


class Stack(NamedTuple):
    """Equal blocks in a row; `name` is what their number is called by."""

    name: str
    trains: bool
    sparse: bool = False
    decoder: bool = False
    masked: bool = False
    new: bool = False
    """Its own weights train, whatever the others' do."""


def forms_scores(shape: Shape) -> bool:
    """Whether attention writes its scores out."""
    return shape.eager or shape.spelt_out or shape.code.attention != "any"


@lru_cache(maxsize=4096)
def training(shape: Shape, stacks: tuple[Stack, ...]) -> tuple[Peak, ...]:
    """The moments of one forward and backward pass."""
    return tuple(_Pass(shape, stacks).peaks())


@lru_cache(maxsize=4096)
def held(shape: Shape, stacks: tuple[Stack, ...]) -> Peak:
    """What a forward pass leaves for the backward pass."""
    walked = _Pass(shape, stacks)
    walked.peaks()
    return walked.held


@lru_cache(maxsize=4096)
def forward(shape: Shape, stacks: tuple[Stack, ...]) -> tuple[Peak, ...]:
    """The moments of a pass that keeps nothing for a backward pass."""
    return tuple(_Pass(shape, stacks, recording=False).peaks())


class _Pass:
    def __init__(self, shape: Shape, stacks: tuple[Stack, ...], *, recording: bool = True) -> None:
        self.s, self.stacks = shape, stacks
        self.g = Graph()
        self.g.recording = self.g.learns = recording
        self.g.accumulates, self.g.noise = shape.accumulates, shape.noise
        self.g.caches_casts = shape.caches_casts
        self.kept: dict[str, Amounts] = {}
        self.passing: dict[str, Amounts] = {}
        """What a block of each stack holds while the pass is among the blocks."""
        self.held = Peak("held", {}, {})

    def peaks(self) -> list[Peak]:
        g = self.g
        memory: Tensor | None = None
        x = self._embedded()
        # Variables of the model's code that live as long as its pass through the blocks.
        alive = self._variables(x)
        states: list[tuple[str, Tensor]] = []
        for stack in self.stacks:
            if stack.decoder and memory is None and self.s.kind == "encoder-decoder":
                memory = self._ended(x)
                x = self._embedded(again=True)
                alive = self._variables(x)
            before = dict(g.live)
            if self.s.code.returns_states:
                states.append((stack.name, x))
            x = self._through(stack, x, memory)
            self.kept[stack.name] = _difference(g.live, before)
        alive.clear()
        g.scores = None
        self.passing = dict(self.kept)
        while states:
            before = dict(g.live)
            name, _ = states.pop()
            freed = _difference(before, g.live)
            self.passing[name] = {k: self.kept[name].get(k, 0.0) + freed.get(k, 0.0)
                                  for k in {**self.kept[name], **freed}}  # fmt: skip
        g.enter("loss")
        with g.billed(LOSS):
            loss = self._loss(x)
        del x, memory
        g.cached = {}
        self.held = Peak("held", dict(g.live), dict(self.kept))
        if loss.node is not None:
            g.backward(loss, g.new(Made("one", 4.0), LOSS))
        g.enter("end")
        return self._peaks()

    def _embedded(self, *, again: bool = False) -> Tensor:
        """What enters the first block; the decoder beside an encoder embeds `again`."""
        g, s = self.g, self.s
        weight = [Made("V*d", s.weight)] * s.trained_embedding
        own = (
            [Made("V*d", s.weight)]
            * 2
            * (s.trained_embedding and s.tied and s.head == "vocabulary")
        )
        if weight and not own and not again and self._pair():
            own = list(weight)  # the gradients of both uses, and their sum
        else:
            weight = weight if not own else []
        x = g.op(Made("T*h", s.weight), [], parameters=weight, temporaries=own,
                 leaf=bool(own) or s.reads_grad)  # fmt: skip
        if s.learned_positions:
            place = [Made("P", s.weight)] * s.trained_embedding
            x = g.op(x.shape, [x], passes=True, parameters=place)
        if s.change is not None and s.change.acts == "rows":
            x = self._replaced(x)
        if s.embedding_norm:
            x = Transformer(s, trains=s.trained_embedding).norm(g, x)
        return layers.dropped(g, x) if s.dropout and s.learned_positions else x

    def _pair(self) -> bool:
        """Whether the embedding serves an encoder and a decoder beside it."""
        return self.s.kind == "encoder-decoder"

    def _variables(self, x: Tensor) -> list[Tensor]:
        """What lives through all blocks: the embeddings, and a bias that all add to their scores.

        A pass that is recorded keeps the embeddings anyway.
        """
        g, s = self.g, self.s
        scores = Made("T*S*a", s.compute)
        if s.code.returns_scores != "no" and not g.recording:
            g.scores = g.new(scores)
        alive = []
        if s.code.embeds == "apart":
            alive += [g.new(x.shape), g.new(x.shape)]
        elif not g.recording and not s.code.returns_states:
            alive.append(g.new(Made("T*d", s.compute) if s.code.embeds == "narrow" else x.shape))
        if s.code.attention == "disentangled":
            alive += [g.new(Made("T*S", layers.FP32)), g.new(Made("M", layers.LONG))]
        if s.code.biased:
            alive.append(g.new(Made("M*a", s.compute) if s.code.attention == "any" else scores))
        return alive

    def _replaced(self, x: Tensor) -> Tensor:
        """Rows of the embedding replaced: the whole matrix is written anew, for a tied head too."""
        g, s = self.g, self.s
        assert s.change is not None
        grads = [Made("v*d", s.change.added)]
        copies = [g.new(Made("V*d", s.weight))] * s.tied
        return g.op(
            x.shape, [], saves=copies, parameters=grads, temporaries=[Made("V*d", s.weight)]
        )

    def _through(self, stack: Stack, x: Tensor, memory: Tensor | None) -> Tensor:
        g, s = self.g, self.s
        cross = stack.decoder and memory is not None
        causal = s.kind == "decoder" or stack.decoder
        block = Transformer(
            s, trains=stack.trains, sparse=stack.sparse, cross=cross, causal=causal,
            masked=stack.masked, new=stack.new,
        )  # fmt: skip
        g.enter(f"forward {stack.name}")
        x = g.marked(x, f"before {stack.name}")
        inputs = (x, memory) if cross and memory is not None else (x,)
        del x
        if s.checkpointing in ("full", "full-offloaded") and stack.trains:
            out = g.checkpointed(block, *inputs)
        else:
            out = block(g, *inputs)
        del inputs
        return g.marked(out, f"backward {stack.name}")

    def _ended(self, x: Tensor) -> Tensor:
        s = self.s
        if not s.final_norm:
            return x
        return Transformer(s, trains=s.trained_embedding or s.base).norm(self.g, x)

    def _loss(self, x: Tensor) -> Tensor:
        """Head and loss; over the vocabulary its logits and their copies."""
        return losses.loss(self.g, self.s, self._given(x))

    def _given(self, x: Tensor) -> Tensor:
        """What the head reads."""
        with self.g.billed(ACTIVATIONS):
            x = self._ended(x)
            rows = self.s.answers_only and not self.s.tiles
            return layers.copied(self.g, x, "Z*h") if rows else x

    # --- the moments ---

    def _peaks(self) -> list[Peak]:
        grads = self._gradients()
        order = [stack.name for stack in self.stacks]
        found: list[Peak] = []
        for window, live in leading(self.g.snapshots):
            word, _, name = window.partition(" ")
            here = order.index(name) if name in order else len(order)
            if word == "forward":
                passing = {n: self.passing[n] for n in order[: here + 1] if name}
                found.append(Peak(window, live, passing))
                continue
            kept = {n: self.kept[n] for n in order[:here]}
            if word == "loss":
                found.append(Peak(window, live, kept))
                continue
            if word == "end" or word == "before":
                kept = {n: self.kept[n] for n in order[: max(here, 0)]} if word == "before" else {}
                found.append(
                    Peak(
                        window,
                        live,
                        kept | {n: grads[n] for n in order[here:]}
                        if word == "before"
                        else dict(grads),
                    )
                )
                continue
            behind = {n: grads[n] for n in order[here + 1 :]}
            found.append(Peak(window, live, kept | {name: self.kept[name]} | behind))
            found.append(Peak(window, live, kept | {name: grads[name]} | behind))
        return found

    def _gradients(self) -> dict[str, Amounts]:
        """What one block of each stack leaves behind: gradients of its parameters."""
        at = dict(self.g.entered)
        grads: dict[str, Amounts] = {}
        for stack in self.stacks:
            begin, end = at.get(f"backward {stack.name}"), at.get(f"before {stack.name}")
            if begin is None or end is None:
                grads[stack.name] = {} if begin is None else self._rest(stack.name, begin)
                continue
            change = _difference(end, begin)
            grads[stack.name] = {k: v for k, v in change.items() if k[0] == GRADIENTS and v > 0}
        return grads

    def _rest(self, name: str, begin: Amounts) -> Amounts:
        change = _difference(dict(self.g.entered)["end"], begin)
        return {k: v for k, v in change.items() if k[0] == GRADIENTS and v > 0}


def _difference(after: Amounts, before: Amounts) -> Amounts:
    return {k: v for k in after if abs(v := after[k] - before.get(k, 0.0)) > 1e-9}
