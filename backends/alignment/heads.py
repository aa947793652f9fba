"""`train: head`: the model stays as it is, a reward is fitted on what its layers hold of answers.

Few pairs cannot move millions of weights to any good, but they do fit a linear map. What people
prefer shows in manner as much as in content, and manner stands in the lower layers and in how an
answer opens; so the map reads every layer, over the whole answer and over its opening, each
scaled alike. The loss is Bradley's and Terry's, its L2 strength chosen on held-out prompts.

Shapes: N pairs, B answers, T tokens, P stretches of an answer, L layers with the embeddings' one,
H hidden, F = P L H.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import softplus
from transformers import AutoModel, AutoTokenizer

from backends import weights
from backends.alignment import coding
from backends.alignment.coding import Coded
from backends.base import Context
from backends.data.rows import Turns
from backends.finetune import dialogues, encoders
from backends.finetune.examples import context_length
from backends.training import batches, precision, silence
from knowledge.errors import UserError

FILE = "reward_head.safetensors"
OPENING = 16  # tokens of an answer's opening
STRENGTHS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
FOLDS = 5  # for the strength
AT_ONCE = 32
STEPS = 200


class Fit(NamedTuple):
    """A map from the differences of two answers to how much better the first is.

    `weight` [F]; `strength` is that of L2 on features of which a pair's have mean square one.
    """

    weight: torch.Tensor
    strength: float


class Headed(NamedTuple):
    """A frozen model, its tokenizer, the tokens it reads, and its map [P, L, H] once fitted."""

    model: Any
    tokenizer: Any
    max_length: int
    weight: torch.Tensor | None = None

    def ids(self, prompt: Turns, answer: Turns, ended: bool = True) -> Coded:
        """An answer to a prompt as tokens, cut to the context."""
        if coding.reads_both_ways(self.model.config):
            return coding.apart(self.tokenizer, prompt, answer, self.max_length)
        found = coding.coded(self.tokenizer, prompt, answer, self.max_length)
        cut = found.answer if ended or len(found.answer) < 2 else found.answer[:-1]
        return found._replace(answer=cut)

    def scores(self, rows: Sequence[Coded], context: Context | None = None) -> list[float]:
        """The reward of each answer, in order."""
        assert self.weight is not None
        told: list[float] = (self.held(rows, context) @ self.weight.flatten()).tolist()
        return told

    def held(self, rows: Sequence[Coded], context: Context | None = None) -> torch.Tensor:
        """What the layers hold of each answer [rows, F]."""
        found = torch.empty(0)
        place, pad = next(self.model.parameters()).device, int(self.tokenizer.pad_token_id or 0)
        done = 0
        if context is not None:
            context.progress.start("reading answers", len(rows), "answers")
        with torch.inference_mode():
            for which in batches.sorted_batches([len(row.ids) for row in rows], AT_ONCE):
                some = [rows[n] for n in which]
                inputs = batches.padded([{"input_ids": row.ids} for row in some], pad)
                states = self.model(
                    **{key: value.to(place) for key, value in inputs.items()},
                    output_hidden_states=True,
                ).hidden_states
                said = _pooled(torch.stack([one.float() for one in states], 1), some)
                if not len(found):
                    found = torch.empty(len(rows), said.shape[1])
                found[which] = said.cpu()
                done += len(which)
                if context is not None:
                    context.progress.advance(done)
                    context.check_stop(f"stopped at answer {done} of {len(rows)} (reading)")
        return found.clone()


def frozen(source: str, name: str, wish: int | None) -> Headed:
    """The model at a path or hub id, without a head yet.

    Args:
        wish: the longest context wished for, or none.
    Raises:
        UserError: it cannot be loaded, or its tokenizer cannot fill up.
    """
    silence.quiet()
    with weights.loading(name):
        tokenizer: Any = AutoTokenizer.from_pretrained(source)
        model = AutoModel.from_pretrained(source, dtype=torch.float32, use_safetensors=True)
    if getattr(model.config, "is_encoder_decoder", False):
        raise UserError(f"the model {name!r} has two halves; take an encoder or a decoder")
    if not coding.reads_both_ways(model.config):
        dialogues.templated(tokenizer)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    length = context_length(
        tokenizer, model.config, wish,
        encoders.sidecar(source, "sentence_bert_config.json").get("max_seq_length"),
    )  # fmt: skip
    tokenizer.model_max_length = length
    model.requires_grad_(False).eval().to(precision.device())
    return Headed(model, tokenizer, length)


def fitted(
    apart_NF: torch.Tensor, weight_N: torch.Tensor, groups: Sequence[str], blocks: int, seed: int
) -> Fit:
    """The map under which the first answers are likeliest to be the better ones.

    Args:
        apart_NF: of each pair what is held of the better answer less that of the worse one.
        weight_N: how much each pair counts.
        groups: of each pair its prompt; pairs of one are held out together.
        blocks: P L, which are brought to one scale each.
    """
    N, F = apart_NF.shape
    spread = apart_NF.view(N, blocks, -1).square().mean((0, 2)).sqrt().clamp_min(1e-9)
    scale_F = (spread * F**0.5).repeat_interleave(F // blocks)
    scaled = (apart_NF / scale_F).double()
    # The solution lies in the span of the pairs: as many unknowns as there are pairs are enough.
    basis = torch.linalg.qr(scaled.T)[0] if N < F else torch.eye(F, dtype=torch.float64)
    inside = scaled @ basis
    share_N = (weight_N / weight_N.mean()).double()
    strength = _best(inside, share_N, groups, seed)
    *_, solution = _path(inside, share_N, STRENGTHS[: STRENGTHS.index(strength) + 1])
    return Fit((basis @ solution).float() / scale_F, strength)


def parts(groups: Sequence[str], count: int, seed: int) -> torch.Tensor:
    """The part [N] of so many that each pair falls into; pairs of one prompt into the same."""
    names = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    chance = torch.Generator().manual_seed(seed)
    place = torch.randperm(len(names), generator=chance) % count
    return place[torch.tensor([names[name] for name in groups])]


def save(made: Headed, folder: Path) -> None:
    """Write model, tokenizer and map; `AutoModel.from_pretrained(folder)` gives the model."""
    assert made.weight is not None
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    save_file({"weight": made.weight.contiguous()}, folder / FILE, {"opening": str(OPENING)})


def load(folder: Path) -> Headed:
    """What `save` wrote."""
    found = frozen(str(folder), str(folder), None)
    return found._replace(weight=load_file(folder / FILE)["weight"])


def is_one(folder: Path) -> bool:
    """Whether a `model/` folder holds a frozen model with a map."""
    return (folder / FILE).is_file()


def shape(config: Any) -> tuple[int, int, int]:
    """P, L and H of a model's configuration."""
    plain = config.get_text_config()
    return 2, plain.num_hidden_layers + 1, plain.hidden_size


def _pooled(states_BLTH: torch.Tensor, some: Sequence[Coded]) -> torch.Tensor:
    """The mean over an answer's tokens, and over those of its opening, at each layer [B, F]."""
    place = torch.arange(states_BLTH.shape[2])
    begin = torch.tensor([[len(row.prompt)] for row in some])
    end = torch.tensor([[len(row.ids)] for row in some])
    found = []
    for last in (end, torch.minimum(end, begin + OPENING)):
        said_BT = ((place >= begin) & (place < last)).to(states_BLTH)
        summed = torch.einsum("blth,bt->blh", states_BLTH, said_BT)
        found.append(summed / said_BT.sum(1).clamp_min(1)[:, None, None])
    return torch.stack(found, 1).flatten(1)


def _best(inside: torch.Tensor, share: torch.Tensor, groups: Sequence[str], seed: int) -> float:
    """The strength with the smallest loss on pairs of held-out prompts, from the strongest on.

    Weaker ones, which take long, are not tried once the loss rises.
    """
    part = parts(groups, FOLDS, seed)
    out = [held for number in part.unique().tolist() if not (held := part == number).all()]
    paths = [_path(inside[~held], share[~held], STRENGTHS) for held in out]
    best, lowest = STRENGTHS[len(STRENGTHS) // 2], float("inf")
    for strength, *solutions in zip(STRENGTHS, *paths, strict=False):
        loss = sum(
            float((share[held] * softplus(-inside[held] @ solution)).sum())
            for held, solution in zip(out, solutions, strict=True)
        )
        if not out or loss > lowest:
            break
        best, lowest = strength, loss
    return best


def _path(
    inside: torch.Tensor, share: torch.Tensor, strengths: Sequence[float]
) -> Iterator[torch.Tensor]:
    """The solution for each strength, from strong to weak, each begun at the one before."""
    solution = torch.zeros(inside.shape[1], dtype=torch.float64, requires_grad=True)
    for strength in strengths:
        steps = torch.optim.LBFGS(
            [solution], max_iter=STEPS, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
        )

        def loss(strength: float = strength, steps: torch.optim.LBFGS = steps) -> torch.Tensor:
            steps.zero_grad()
            value = (share * softplus(-inside @ solution)).mean()
            value = value + 0.5 * strength * solution.square().sum()
            value.backward()
            return value

        steps.step(loss)
        yield solution.detach().clone()
