"""The trainings of a step: the main one, short ones that foretell it, and one of a new head."""

import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np
from peft import LoraConfig, get_peft_model

from backends.base import Context, Metric, Step
from backends.scratch import architectures, scaling
from backends.scratch.measures import LOOKED_AT, Reader
from backends.scratch.preparation import CONTEXT, Prepared, folder_of
from backends.scratch.stream import Shards, Source, Stream
from backends.training import checkpoints, precision, trainer
from backends.training.meter import Meter
from backends.training.streaming import Course, Taught, teach
from knowledge.errors import UserError

HEAD_STEPS, HEAD_RATE = 200, 2e-3
HEAD = "head"
COUNTED = 2**20  # tokens
HEADLESS = -1  # no look at held-out text


class Outcome(NamedTuple):
    """The model as it learnt (perhaps with an adapter), and how that went."""

    model: Any
    taught: Taught


def taught(start: Prepared, context: Context, meter: Meter) -> Outcome:
    """The main training of a step."""
    model = start.model
    if start.settings.adapter == "lora":
        model = _with_adapter(start)
    return Outcome(model, _teach(start, model, start.steps, context, meter))


def merged(start: Prepared, model: Any, context: Context) -> Any:
    """The model that is written: itself, or with its adapter merged in."""
    if start.settings.adapter == "none":
        return model
    model.save_pretrained(folder_of(context, "adapter"))
    return model.merge_and_unload()


def before(start: Prepared) -> dict[str, Metric]:
    """What a model that is continued knew: its loss on the domain, and on general text."""
    start.model.eval()
    domain = start.reader.held(start.model, start.domain.held)
    found = {"loss_before": Metric(domain.loss, n=domain.tokens)}
    if start.general is not None:
        general = start.reader.held(start.model, start.general.held)
        found["general_loss_before"] = Metric(general.loss, n=general.tokens)
    return found


def with_head(start: Prepared, context: Context, meter: Meter) -> Prepared:
    """A model whose file lacked its head, with one that was fitted while the rest stood still.

    It learns from general text where there is some, so that what the model knew is measured
    before the domain is seen.
    """
    if not start.new:
        return start
    model = start.model
    learns = {name: p.requires_grad for name, p in model.named_parameters()}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in start.new or name.endswith("predictions.bias"))
    note = f"the model's file has no {sorted(start.new)[0].split('.')[0]} head: one is fitted first"
    context.progress.note(note)
    start.notes.append(note)
    settings = msgspec.structs.replace(
        start.settings, learning_rate=HEAD_RATE, schedule="cosine", warmup=0.05, accumulation=1
    )
    own = msgspec.structs.replace(context, folder=folder_of(context, HEAD))
    source = start.domain if start.general is None else start.general
    fitted = start._replace(settings=settings, domain=source, general=None)
    _teach(fitted, model, HEAD_STEPS, own, meter, looks=HEADLESS)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(learns[name])
    return start


def foretold(start: Prepared, step: Step, context: Context, meter: Meter) -> dict[str, Metric]:
    """The loss that the whole run is expected to come to, from short ones.

    Raises:
        UserError: it is above `stop_above`.
    """
    if step.method == "cpt":
        raise UserError("predict is of scratch: a continued model's loss has no such law")
    tokens, losses = [], []
    each = start.settings.micro_batch * start.settings.accumulation * start.reader.length
    seed = trainer.seed(context, start.settings)
    for share in scaling.SHARES:
        steps = max(10, round(share * start.steps))
        model = architectures.made(
            start.settings, start.tokenizer, start.settings.max_length or CONTEXT, seed
        ).to(precision.device())
        own = msgspec.structs.replace(context, folder=folder_of(context, f"small/{steps}"))
        part = msgspec.structs.replace(
            start.settings, warmup=_warmup(start.settings.warmup, steps, start.steps)
        )
        small = _teach(start._replace(settings=part), model, steps, own, meter, looks=1)
        tokens.append(float(steps * each))
        losses.append(small.curve[-1]["loss"])
    found = scaling.forecast(
        np.asarray(tokens), np.asarray(losses), float(start.steps * each),
        plain=_plain(start.domain.train), learnt=small.recent,
    )  # fmt: skip
    context.log(small_tokens=tokens, small_losses=losses, **found._asdict())
    if found.refusal:
        start.notes.append(f"the whole run's loss cannot be foretold: {found.refusal}")
        context.progress.note(start.notes[-1])
        return {}
    said = f"expected loss of the whole run {found.loss:.3f} ({found.low:.3f} to {found.high:.3f})"
    context.progress.note(said)
    if start.settings.stop_above is not None and found.low > start.settings.stop_above:
        raise UserError(
            f"{said}, above stop_above {start.settings.stop_above:g}: the whole run was not begun; "
            "take a larger model, more text, or raise stop_above"
        )
    return {"predicted_loss": Metric(found.loss, found.low, found.high)}


def _plain(shards: Shards) -> float:
    """The loss of saying each token as often as it occurs [nats], by the beginning of a text."""
    counts = np.bincount(shards.read(0, min(COUNTED, shards.tokens)))
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _warmup(whole: float, steps: int, of: int) -> float:
    """Steps that the rate of a short run rises over: as many as the whole run's, at most half.

    Warming up keeps the first, overlarge updates small (https://arxiv.org/abs/2410.23922), however
    long the run is: with the same share a short run learns worse than the whole one has at its
    length, and runs differ far more by their seed (docs/scratch.md).

    Args:
        whole: of the whole run, as `Settings.warmup`.
        of: steps of the whole run.
    """
    rising = round(whole * of) if whole < 1 else round(whole)
    return float(min(rising, steps // 2))


def metrics(taught: Taught, known: Mapping[str, Metric]) -> dict[str, Metric]:
    """Speed, waiting, and what was forgotten."""
    found: dict[str, Metric] = {}
    if taught.tokens_per_second is not None:
        found["tokens_per_second"] = Metric(taught.tokens_per_second)
    if taught.waited is not None:
        found["waiting_share"] = Metric(taught.waited)
    if "general_loss_before" in known:
        rise = known["general_loss"].value - known["general_loss_before"].value
        found["general_loss_rise"] = Metric(rise)
    if "loss_before" in known:
        found["loss_fall"] = Metric(known["loss_before"].value - known["loss"].value)
    return found


def notes(taught: Taught, known: Mapping[str, Metric]) -> list[str]:
    """What a reader of the result should know."""
    said = ["the model was compiled"] if taught.compiled else []
    if taught.skipped:
        said.append(f"steps left out as their loss stood out: {len(taught.skipped)}")
    if "predicted_loss" in known:
        expected, came = known["predicted_loss"], known["loss"].value
        said.append(
            f"loss foretold {expected.value:.3f} ({expected.low:.3f} to {expected.high:.3f}), "
            f"came to {came:.3f} ({came / expected.value - 1:+.1%})"
        )
    return said


def _teach(
    start: Prepared, model: Any, steps: int, context: Context, meter: Meter, looks: int = 0
) -> Taught:
    """Train a model for so many steps, looking at held-out text `looks` times (0: as set)."""
    settings, reader = start.settings, start.reader
    every = max(1, steps // (max(0, looks) or settings.evaluations))
    course = Course(
        stream=_stream(start, trainer.seed(context, settings)),
        loss=reader.loss(settings.z_loss),
        evaluate=None if looks == HEADLESS else _evaluated(start, reader, whole=bool(looks)),
        data=_fingerprint(start, steps),
        steps=steps,
        save_steps=settings.save_steps or max(1, steps // 5),
        evaluate_steps=every,
        spike=settings.spike,
        floor=settings.floor,
        compile=settings.compile,
        looks=(0, 0) if looks == HEADLESS else _looks(start, whole=bool(looks)),
        prepared=reader.batch,
    )
    trainer.fix_chance(context, settings)
    return teach(model, _groups(model, settings), course, settings, context, meter)


def _stream(start: Prepared, seed: int) -> Stream:
    share = start.settings.replay
    domain, length, batch = start.domain.train, start.reader.length, start.settings.micro_batch
    if start.general is None or not share:
        return Stream(domain, length, batch, seed)
    both = [Source(domain, 1 - share), Source(start.general.train, share)]
    return Stream(both, length, batch, seed)


def _evaluated(start: Prepared, reader: Reader, whole: bool) -> Any:
    """A look at held-out text: always the same first part of it, or all at the end."""

    def of(model: Any, last: bool) -> dict[str, float]:
        most = None if whole and last else LOOKED_AT
        found = {"loss": reader.held(model, start.domain.held, most).loss}
        found["perplexity"] = math.exp(min(found["loss"], 700.0))
        if start.general is not None:
            found["general_loss"] = reader.held(model, start.general.held, most).loss
        return found

    return of


def _looks(start: Prepared, whole: bool) -> tuple[int, int]:
    """Tokens that a look on the way sees, and the one at the end."""
    held = [start.domain.held.tokens]
    held += [] if start.general is None else [start.general.held.tokens]
    some = sum(min(LOOKED_AT, tokens) for tokens in held)
    return some, sum(held) if whole else some


def _fingerprint(start: Prepared, steps: int) -> str:
    parts = [start.domain.train.fingerprint, start.domain.held.fingerprint, steps]
    if start.general is not None:
        parts.append(start.general.train.fingerprint)
    names = ("micro_batch", "accumulation", "mask_share", "span", "z_loss", "replay", "schedule")
    parts += [getattr(start.settings, name) for name in names]
    return checkpoints.hashed([parts, start.reader.length])


def _groups(model: Any, settings: Any) -> list[dict[str, Any]]:
    """Matrices, which decay, and the rest, which does not."""
    learning = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in learning if p.dim() > 1], "lr": settings.learning_rate},
        {
            "params": [p for p in learning if p.dim() < 2],
            "lr": settings.learning_rate,
            "weight_decay": 0.0,
        },
    ]


def _with_adapter(start: Prepared) -> Any:
    settings = start.settings
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, target_modules="all-linear"
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*deprecated")
        return get_peft_model(start.model, config)
