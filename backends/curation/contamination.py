"""Whether a text holds what a model will be evaluated on: runs of its words, hashed.

A run of 13 words that an evaluation item has too marks a text, as for GPT-3
(https://arxiv.org/abs/2005.14165, appendix C); an item of fewer words is looked for as a whole if
it has at least `SHORTEST`, for shorter ones are said by chance.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from backends.curation.hashing import Numbers, Words, runs_of, words_of

RUN = 13  # words
SHORTEST = 6  # words
TOGETHER = 1000  # items hashed at once


class Evaluation:
    """The runs of words of evaluation items, by their lengths."""

    def __init__(self, items: Iterable[str], run: int = RUN) -> None:
        held: dict[int, list[Numbers]] = {}
        self.items = 0
        self.too_short = 0
        batch: list[str] = []
        for item in items:
            batch.append(item)
            if len(batch) == TOGETHER:
                self._take(batch, run, held)
                batch = []
        self._take(batch, run, held)
        joined = {length: np.unique(np.concatenate(found)) for length, found in held.items()}
        self._runs = {length: runs for length, runs in joined.items() if len(runs)}

    def marked(self, texts: Sequence[str], words: Words | None = None) -> NDArray[np.bool_]:
        """Whether each text holds a run of an item. Shapes: (texts,)."""
        found = np.zeros(len(texts), np.bool_)
        if not self._runs:
            return found
        words = words_of(texts) if words is None else words
        for length, known in self._runs.items():
            runs = runs_of(words, length, short=False)
            place = np.minimum(np.searchsorted(known, runs.hashes), len(known) - 1)
            found[runs.texts[known[place] == runs.hashes]] = True
        return found

    def _take(self, batch: list[str], run: int, held: dict[int, list[Numbers]]) -> None:
        if not batch:
            return
        words = words_of(batch)
        sizes = np.bincount(words.texts, minlength=len(batch))
        self.items += len(batch)
        self.too_short += int((sizes < SHORTEST).sum())
        held.setdefault(run, []).append(runs_of(words, run, short=False).hashes)
        for length in np.unique(sizes[(sizes >= SHORTEST) & (sizes < run)]).tolist():
            of_it = np.isin(words.texts, np.flatnonzero(sizes == length))
            some = Words(words.hashes[of_it], words.texts[of_it])
            held.setdefault(length, []).append(runs_of(some, length, short=False).hashes)
