"""How well free answers agree with accepted ones, as SQuAD scores them.

Source: https://arxiv.org/abs/1606.05250, section 6.1: case, punctuation and English articles do
not count, and an answer is held against the accepted one that suits it best.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

from backends.base import Metric
from backends.evaluate.bootstrap import mean, share

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad_words(text: str) -> list[str]:
    """The words of an answer that count."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def same_answer(answer: str | None, accepted: Sequence[str]) -> bool:
    """Whether an answer is one of the accepted ones; None (no answer) never is."""
    if answer is None:
        return False
    words = squad_words(answer)
    return any(words == squad_words(one) for one in accepted)


def token_overlap(answer: str | None, accepted: Sequence[str]) -> float:
    """The token F1 of an answer with the accepted answer that is nearest, 0 to 1."""
    if answer is None:
        return 0.0
    words = squad_words(answer)
    return max((_f1(words, squad_words(one)) for one in accepted), default=0.0)


def exact_match(answers: Sequence[str | None], accepted: Sequence[Sequence[str]]) -> Metric:
    """The share of answers that are accepted ones."""
    pairs = zip(answers, accepted, strict=True)
    return share(sum(same_answer(answer, ones) for answer, ones in pairs), len(answers))


def token_f1(
    answers: Sequence[str | None], accepted: Sequence[Sequence[str]], seed: int = 13
) -> Metric:
    """The mean token F1 of answers."""
    pairs = zip(answers, accepted, strict=True)
    return mean([token_overlap(answer, ones) for answer, ones in pairs], seed)


def _f1(words: list[str], others: list[str]) -> float:
    if not words or not others:
        return float(words == others)
    common = sum((Counter(words) & Counter(others)).values())
    return 2 * common / (len(words) + len(others))
