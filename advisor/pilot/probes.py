"""What trials say together: would more labels help, and how foreign are the texts."""

import math
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from random import Random
from statistics import NormalDist, quantiles
from typing import Any, NamedTuple

from advisor import tokens
from advisor.pilot import Finding, Tried
from advisor.profile import Profile
from backends import data, weights
from backends.base import Metric
from knowledge.quantities import Range

DRAWS = 2000
TEXTS = 1000  # of the user's, for the vocabulary
Z95 = NormalDist().inv_cdf(0.975)


class Fit(NamedTuple):
    """Errors that fall with a power of the examples: `scale * rows ** -rate`."""

    scale: float
    rate: float

    def quality(self, rows: float) -> float:
        """One minus the error at so many examples."""
        return 1 - min(1.0, self.scale * math.pow(rows, -self.rate))


def learning_curve(points: Sequence[Tried]) -> Finding | None:
    """Whether twice the examples would help, from one option on growing parts of them.

    The interval draws each point anew from its own interval; the parts share one held-out file,
    so the true spread of the slope is smaller than that. None for fewer than three parts.

    Source: https://arxiv.org/abs/1712.00409 (learning curves follow power laws).
    """
    found = [(one.rows, one.quality) for one in sorted(points, key=lambda one: one.rows)]
    known = [(rows, quality) for rows, quality in found if quality is not None]
    if len(known) < 3:
        return None
    rows = [count for count, _ in known]
    twice = 2 * rows[-1]
    metric = next(one.metric for one in points)
    drawn = sorted(
        fitted(rows, errors).quality(twice) for errors in _draws([one for _, one in known])
    )
    cuts = quantiles(drawn, n=40)
    expected = Range(cuts[0], fitted(rows, [1 - one.value for _, one in known]).quality(twice),
                     cuts[-1])  # fmt: skip
    now = known[-1][1].value
    gain = expected.mid - now
    helps = "would help" if expected.low > now else "may or may not help"
    return Finding(
        "learning-curve",
        f"With twice the labels ({twice:,}) {metric} is expected at {expected.mid:.3f} "
        f"({expected.low:.3f} to {expected.high:.3f}), {gain:+.3f} from {now:.3f}: more {helps}.",
        {
            "rows": rows,
            "measured": [one.value for _, one in known],
            "at_twice": {"low": expected.low, "mid": expected.mid, "high": expected.high},
        },
    )


def fitted(rows: Sequence[int], errors: Sequence[float]) -> Fit:
    """The power law through errors, by least squares of logarithms; it never rises with rows."""
    across = [math.log(count) for count in rows]
    up = [math.log(max(error, 1e-4)) for error in errors]
    middle, height = sum(across) / len(across), sum(up) / len(up)
    spread = sum((x - middle) ** 2 for x in across)
    slope = sum((x - middle) * (y - height) for x, y in zip(across, up, strict=True)) / spread
    rate = max(0.0, -slope)
    return Fit(math.exp(height + rate * middle), rate)


def retrieval(points: Sequence[Tried]) -> Finding | None:
    """How often the right passage is found; None where nothing was searched."""
    found = next((one.metrics for one in points if "recall@10" in one.metrics), None)
    if found is None:
        return None
    figures: dict[str, Any] = {
        name: found[name].value
        for name in ("recall@10", "dense_recall@10", "bm25_recall@10")
        if name in found
    }
    recall = found["recall@10"]
    between = "" if recall.low is None else f" ({recall.low:.2f} to {recall.high:.2f})"
    return Finding(
        "retrieval",
        f"The right passage is among the first ten for {recall.value:.2f}{between} of "
        f"{recall.n or 'the'} questions; answers read from passages are seldom right more often.",
        figures,
    )


def vocabulary(profile: Profile, model: str | None) -> Finding | None:
    """How many more tokens the user's words take than everyday ones; None without texts or words.

    Args:
        model: whose tokenizer counts, where it is on disk; else the packaged encoder's.
    """
    texts = _texts(profile)
    place = None if model is None else tokens.tokenizer_of(model)
    packaged = weights.packaged_encoder()
    if place is None and packaged is not None:
        place, model = packaged / "tokenizer.json", "the packaged encoder"
    if not texts or place is None or not place.is_file():
        return None
    own = _tokens_per_word(texts, place)
    usual = _tokens_per_word(_everyday(), place)
    ratio = own / usual
    return Finding(
        "vocabulary",
        f"Your texts take {own:.2f} tokens a word with the tokenizer of {model}, "
        f"{ratio:.2f} times everyday English ({usual:.2f}).",
        {"tokens_per_word": own, "everyday": usual, "ratio": ratio},
    )


def _draws(found: Sequence[Metric]) -> list[list[float]]:
    """Errors drawn from the intervals of metrics."""
    chance = Random(13)
    spread = [
        (one.high - one.low) / (2 * Z95) if one.low is not None and one.high is not None else 0.0
        for one in found
    ]
    return [
        [1 - chance.gauss(one.value, sd) for one, sd in zip(found, spread, strict=True)]
        for _ in range(DRAWS)
    ]


def _texts(profile: Profile) -> list[str]:
    if profile.data is not None:
        return [data.input_text(row) for row in data.read(profile.data).rows[:TEXTS]]
    if profile.corpus is not None:
        return [document.text for document in data.documents(profile.corpus)[0][:TEXTS]]
    return []


def _everyday() -> list[str]:
    text = resources.files("backends.finetune") / "general.txt"
    return text.read_text(encoding="utf-8").splitlines()


def _tokens_per_word(texts: Sequence[str], place: Path) -> float:
    return tokens.counted(place, texts, special=False) / max(
        1, sum(len(text.split()) for text in texts)
    )
