"""How near a free text comes to accepted ones: ROUGE for summaries, chrF for translations."""

from collections.abc import Sequence
from functools import cache
from typing import Any

ROUGES = ("rouge1", "rouge2", "rougeL")


def rouge(answer: str | None, accepted: Sequence[str]) -> dict[str, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L F1 with the accepted text that suits best, 0 to 1.

    Words are stemmed, as in the rouge-score package's usual setting.

    Source: https://aclanthology.org/W04-1013/
    """
    best = dict.fromkeys(ROUGES, 0.0)
    for one in accepted if answer else ():
        scores = _rouge().score(one, answer)
        best = {name: max(best[name], float(scores[name].fmeasure)) for name in ROUGES}
    return best


def chrf(answer: str | None, accepted: Sequence[str]) -> float:
    """chrF2 of one text with accepted ones, 0 to 1.

    Source: https://aclanthology.org/W15-3049/, as sacrebleu computes it.
    Off by: a mean over texts is a little below the chrF of the whole corpus, which weighs long
    texts more.
    """
    if not answer or not accepted:
        return 0.0
    return float(_chrf().sentence_score(answer, list(accepted)).score) / 100


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # 1 s, and only summaries need it

    return RougeScorer(list(ROUGES), use_stemmer=True)


@cache
def _chrf() -> Any:
    from sacrebleu.metrics import CHRF  # only translations need it

    return CHRF()
