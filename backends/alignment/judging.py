"""The step of the method `reward-model`: pairs into a model that scores an answer.

A pair's loss is that of Bradley and Terry, -log sigmoid of the difference of rewards; a tie is
half a pair each way, whose loss is least where both are held equally good.
"""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import torch
from trl import RewardConfig

from backends import evaluate, weights
from backends.alignment import Settings, adapting, advice, checks, coding, preferences, rooms
from backends.alignment.preferences import Pair, Pairs
from backends.alignment.reinforcing import precision_of
from backends.alignment.scorer import Scorer, load
from backends.base import Context, Data, Metric, Step, StepResult
from backends.finetune import dialogues, results, tuned
from backends.finetune.tuned import Base
from backends.peft import kinds
from backends.training import checkpoints, trainer
from backends.training.arguments import arguments, optimizer
from backends.training.meter import Meter
from backends.training.watch import Watch
from knowledge.errors import UserError

BINS = 10
WHOLE, ADAPTER, HEAD = 2e-5, 1e-4, 1e-3
EPOCHS, FEWEST = 1.0, 100  # InstructGPT: one pass, for a second overfits (2203.02155, 3.5)


def check(step: Step, settings: Settings, context: Context) -> Pairs:
    """Refuse what could not be run, before anything is written; returns the pairs."""
    if step.model is None:
        raise UserError(f"step {step.name!r} names no model; set model: a folder or hub id")
    if not step.model.startswith("step:"):
        weights.local(step.model)
    seed = trainer.seed(context, settings)
    return preferences.pairs(step, settings.test_share, seed, settings.bad_rows)


def run(step: Step, settings: Settings, context: Context) -> StepResult:
    """Train a reward model and write it, with accuracy, calibration and margins.

    Raises:
        Interrupted: the user stopped it; a checkpoint is kept.
    """
    found = check(step, settings, context)
    trainer.fix_chance(context, settings)
    told = preferences.directed(found.train, settings.ties or "both")
    settings = _settled(settings, len(told))
    with Meter() as meter:
        start = _start(step, settings, context)
        scorer = Scorer(start.model, start.tokenizer, start.max_length)
        rows = [
            {
                "chosen_ids": scorer.ids(pair.prompt, pair.chosen),
                "rejected_ids": scorer.ids(pair.prompt, pair.rejected),
            }
            for pair in told
        ]
        trained, model = _taught(start, rows, told, settings, context, meter)
        artefact = adapting.write(model, start, settings, context.folder)
    found_scorer = load(context.folder / "model")
    metrics = measured(found_scorer, found.test, found.train, context)
    notes = [*found.skipped[:3], *checks.notes(checks.checked(found.train))]
    if len(found.skipped) > 3:
        notes.append(f"and {len(found.skipped) - 3} more rows were left out")
    if found.held_out:
        notes.append(f"scored on the {len(found.test):,} pairs of prompts held out of the file")
    notes += advice.too_few(step.method, len(found.train))
    notes += results.training_notes(trained, "loss")
    counts = {
        "pairs": len(found.train),
        "ties": sum(pair.tie for pair in found.train),
        "test": len(found.test),
        "skipped": len(found.skipped),
        "max_length": start.max_length,
        "steps": trained.steps,
    }
    outcome = results.Outcome(metrics, counts, settings, artefact, notes)
    return results.result(step, context, meter, outcome)


def score(scorer: Scorer, where: Data) -> dict[str, Metric]:
    """The figures of a reward model on the pairs of other data."""
    path = where.test or where.validation or where.train
    if path is None:
        raise UserError("no data to evaluate on; give a file of preferences")
    some = preferences.paired(preferences.read(where, path, [], "refuse"))
    return measured(scorer, some, (), None)


def measured(
    scorer: Scorer, test: Sequence[Pair], train: Sequence[Pair], context: Context | None
) -> dict[str, Metric]:
    """How well rewards agree with pairs; a tie counts in `tie_margin` alone.

    Returns:
        `accuracy` (a draw is half), `ece` (of sigmoid of the margin as the probability that the
        chosen one is better, over all pairs both ways), `margin`, and beside them
        `baseline_longer_accuracy`, which always takes the longer answer (or the shorter, as the
        training pairs have it), `margin_length_correlation`, and `accuracy_against_length`: on
        pairs where that baseline is wrong.
    """
    pairs = [pair for pair in test if not pair.tie]
    if not pairs:
        raise UserError("no test pair has a better and a worse answer; give more prompts")
    said = scorer.scores(
        [
            scorer.ids(pair.prompt, side)
            for pair in test for side in (pair.chosen, pair.rejected)
        ],
        context,
    )  # fmt: skip
    margins = [a - b for a, b in zip(said[::2], said[1::2], strict=True)]
    whole = [margin for margin, pair in zip(margins, test, strict=True) if not pair.tie]
    longer = [_longer(pair) for pair in pairs]
    usual = sum(_longer(pair) for pair in train if not pair.tie) if train else sum(longer)
    sign = 1 if usual >= 0 else -1
    right = [_right(margin) for margin in whole]
    found = {
        "accuracy": evaluate.mean(right),
        "ece": Metric(_calibration_error(whole), n=len(whole)),
        "margin": evaluate.mean(whole),
        "baseline_longer_accuracy": evaluate.mean([_right(sign * one) for one in longer]),
        "margin_length_correlation": Metric(_correlation(whole, longer), n=len(whole)),
    }
    against = [hit for hit, one in zip(right, longer, strict=True) if sign * one < 0]
    if against:
        found["accuracy_against_length"] = evaluate.mean(against)
    ties = [abs(margin) for margin, pair in zip(margins, test, strict=True) if pair.tie]
    if ties:
        found["tie_margin"] = evaluate.mean(ties)
    return found


def _start(step: Step, settings: Settings, context: Context) -> Base:
    name = str(step.model)
    source = weights.local(name, context.artefacts)
    start = tuned.base(source, name, ["reward"], settings.max_length)
    if not coding.reads_both_ways(start.model.config):
        dialogues.templated(start.tokenizer)
    start.model.config.problem_type = None  # one number, not one of several classes
    # What the trainer saves of an adapter names its base.
    start.model.name_or_path = start.model.config._name_or_path = source
    return start


def _taught(
    start: Base,
    rows: list[dict[str, Any]],
    pairs: Sequence[Pair],
    settings: Settings,
    context: Context,
    meter: Meter,
) -> tuple[trainer.Trained, Any]:
    folder, chance = context.folder / "checkpoints", trainer.seed(context, settings)
    data = checkpoints.hashed([*rows, [pair.weight for pair in pairs]])
    notes: list[str] = []
    held = trainer.resumable(folder, data, notes) if context.resume else None
    settings = msgspec.structs.replace(
        settings, precision="bf16" if precision_of(settings) else "fp32"
    )
    model, config = start.model, adapting.lora(start, settings)
    if config is not None:
        with kinds.without_deprecations():
            model = kinds.with_adapter(start, config, settings.targets)
    room = rooms.RewardRoom(
        weights=[pair.weight for pair in pairs],
        watch=Watch(context, "loss", None),
        meter=meter,
        data=data,
        model=model,
        args=RewardConfig(
            **arguments(len(rows), settings, folder, chance),
            max_length=None,
            center_rewards_coefficient=settings.center or None,
        ),
        train_dataset=coding.columns(rows),
        processing_class=start.tokenizer,
        optimizers=(optimizer(tuned_groups(model, start, settings), settings), None),
    )
    with kinds.without_deprecations():
        trained = trainer.taught(room, held, meter, notes)
    room.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    return trained, model.eval()


def tuned_groups(model: Any, start: Base, settings: Settings) -> list[dict[str, Any]]:
    """What learns, by rate: new parameters go faster."""
    return [dict(group) for group in tuned.groups(model, start.new, settings)]  # type: ignore[arg-type]


def _settled(settings: Settings, rows: int) -> Settings:
    batch = settings.micro_batch * settings.accumulation
    return msgspec.structs.replace(
        settings,
        learning_rate=settings.learning_rate or (WHOLE if settings.adapter == "none" else ADAPTER),
        head_learning_rate=settings.head_learning_rate or HEAD,
        epochs=settings.epochs or rooms.epochs_for(rows, batch, FEWEST, EPOCHS),
    )


def _right(margin: float) -> float:
    return 1.0 if margin > 0 else 0.5 if margin == 0 else 0.0


def _longer(pair: Pair) -> int:
    chosen, rejected = pair.texts
    return len(chosen) - len(rejected)


def _calibration_error(margins: Sequence[float]) -> float:
    """How far stated probabilities are from how often they come true, over ten equal bins.

    Each pair counts both ways, so a model that is rightly sure and one that is never sure of
    anything both come out well; the surer side of each is enough.
    """
    sure = [1 / (1 + math.exp(-min(abs(margin), 500.0))) for margin in margins]
    right = [_right(margin) for margin in margins]
    bins: dict[int, list[int]] = {}
    for n, one in enumerate(sure):
        bins.setdefault(min(BINS - 1, int((one - 0.5) * 2 * BINS)), []).append(n)
    off = sum(
        abs(sum(sure[n] for n in some) - sum(right[n] for n in some)) for some in bins.values()
    )
    return off / len(margins)


def _correlation(margins: Sequence[float], lengths: Sequence[int]) -> float:
    """Pearson's correlation of margins with differences of length; 0 where either is constant."""
    both = torch.tensor([list(margins), [float(one) for one in lengths]], dtype=torch.float64)
    if both.shape[1] < 2 or float(both.std(dim=1).min()) == 0.0:
        return 0.0
    return float(torch.corrcoef(both)[0, 1])
