"""BM25 over the words of passages, each as it stands and with its ending stripped.

Both, since endings matter less in headings and short questions than in names and terms. Chosen by
ten sets of questions that no benchmark here reports on (benchmarks/RAG.md), as are all constants.

Three things are not as BM25 has them. That a passage has a word at all counts beside how often it
has it: `AT_ALL` of the word's rarity more, for stems alone (the same is added, for another reason,
by https://doi.org/10.1145/2063576.2063584). Rare words count more than their rarity says, by its
`EMPHASIS`th power. And a question's words count for less where they only make it a question
(`backends.rag.question_words`). Where no endings are known words count as BM25 has them.

A passage is taken to be as long as the longest of its section: what a cut left over at the end of
a section is no short text, and BM25 would prefer it to the rest.
"""

import re
from collections.abc import Container, Mapping, Sequence
from functools import cache, cached_property, lru_cache
from itertools import pairwise
from math import log
from pathlib import Path
from typing import Any, Literal, NamedTuple

import bm25s
import numpy as np
import Stemmer
from numpy.typing import NDArray

from backends.rag.question_words import weights_of
from backends.rag.sections import joined
from knowledge.errors import unknown

Forms = Literal["both", "stems"]
FORMS: tuple[Forms, ...] = ("both", "stems")
K1, B = 1.2, 0.8
AT_ALL = 1.0
EMPHASIS = 0.5
FILLER = ""  # a word that no question asks for
AS_IT_STANDS = "="  # begins a word that keeps its ending
# Chinese and Japanese set no spaces between words: two characters stand for one.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{UNSPACED}]+|[^\W{UNSPACED}]+")
_IS_UNSPACED = re.compile(rf"[{UNSPACED}]")


def check_language(language: str) -> None:
    """Raise `UserError` for a language whose endings are not known here."""
    known = ("auto", "none", *Stemmer.algorithms())
    if language not in known:
        raise unknown("language", language, known)


def words(text: str, language: str) -> list[str]:
    """The words of a text as BM25 compares them: lower case, endings stripped."""
    found: list[str] = []
    for word in _WORD.findall(text.lower()):
        if _IS_UNSPACED.match(word):
            found.extend(word[at : at + 2] for at in range(max(len(word) - 1, 1)))
        else:
            found.append(word)
    return found if language == "none" else list(_stemmer(language).stemWords(found))


def terms(text: str, language: str, forms: Forms = "both") -> list[str]:
    """What BM25 counts in a text: each word stripped of its ending, then as it stands.

    Args:
        forms: `stems` leaves out the words as they stand.
    """
    if language == "none" or forms == "stems":
        return words(text, language)
    pairs = zip(words(text, language), words(text, "none"), strict=True)
    return [term for stem, word in pairs for term in (stem, AS_IT_STANDS + word)]


class Terms(NamedTuple):
    """The terms of passages as numbers of the vocabulary: passage n has `ids[starts[n]:...]`."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]

    def of(self, passage: int) -> list[int]:
        """The terms of one passage, in its order."""
        found: list[int] = self.ids[self.starts[passage] : self.starts[passage + 1]].tolist()
        return found


class WordIndex:
    """BM25 scores of passages, counted once when it is built."""

    def __init__(
        self, scorer: Any, language: str, terms: Terms, sections: NDArray[np.int32]
    ) -> None:
        self.scorer = scorer
        self.language = language
        self.terms = terms
        self.sections = sections
        self.passages = len(terms.starts) - 1

    def changed(
        self, keep: NDArray[np.int64], texts: Sequence[str], sections: NDArray[np.int32]
    ) -> "WordIndex":
        """The index of some of the passages, in their order, and after them of new ones.

        Args:
            keep: the passages that stay; none or all of a section.
            sections: of the new ones (`backends.rag.sections`).
        """
        held = [self.terms.of(int(at)) for at in keep]
        every = joined(self.sections[keep], sections)
        return _counted(held, texts, dict(self._vocabulary), self.language, every)

    def shares(self, question: str, forms: Forms = "both") -> NDArray[np.float32]:
        """BM25 of every passage over the most that any text could reach, 0 to 1.

        On this scale a passage that shares a question's small change only stays near 0, even
        where it is the best there is; BM25's own scale differs from question to question.
        """
        found = np.zeros(self.passages, dtype=np.float32)
        most = 0.0
        for weight, asked in self._by_weight(question, forms).items():
            known = [word for word in asked if word in self._vocabulary]
            if known and self.passages:
                found += np.float32(weight) * self.scorer.get_scores(known)
            most += weight * sum(self._most(word) for word in asked)
        return found / np.float32(most) if most else found

    def pairs(self, question: str, passages: NDArray[np.int64]) -> NDArray[np.float32]:
        """Of some passages, the share of a question's neighbouring words that are so there too.

        Rare words count more, words that make the question one less; 0 to 1. Endings do not matter.
        """
        found = np.zeros(len(passages), dtype=np.float32)
        asked = words(question, self.language)
        slight = weights_of(words(question, "none"), self.language)
        counts = [by * self._weight(word) for by, word in zip(slight, asked, strict=True)]
        weights = {
            pair: sum(both) for pair, both in zip(pairwise(asked), pairwise(counts), strict=True)
        }
        size = len(self._vocabulary)
        codes = {
            self._vocabulary[a] * size + self._vocabulary[b]: weight
            for (a, b), weight in weights.items()
            if a in self._vocabulary and b in self._vocabulary
        }
        if not codes or not len(passages):
            return found
        # Their words one after the other, every other term where each word has two.
        step = 1 if self.language == "none" else 2
        begins = self.terms.starts[passages]
        sizes = (self.terms.starts[passages + 1] - begins + step - 1) // step
        ends = np.cumsum(sizes)
        places = np.repeat(begins - step * (ends - sizes), sizes) + step * np.arange(ends[-1])
        held = np.asarray(self.terms.ids)[places].astype(np.int64)
        owners = np.repeat(np.arange(len(passages)), sizes)
        known = np.asarray(sorted(codes))
        at = np.flatnonzero(np.isin(held[:-1], known // size) & (owners[:-1] == owners[1:]))
        seen = held[at] * size + held[at + 1]
        which = np.minimum(np.searchsorted(known, seen), len(known) - 1)
        same = known[which] == seen
        has = np.zeros((len(passages), len(known)), dtype=np.float32)
        has[owners[at[same]], which[same]] = 1
        whole = sum(weights.values())
        return has @ np.asarray([codes[one] / whole for one in known.tolist()], dtype=np.float32)

    def coverage(self, question: str, text: str) -> float:
        """The share of a question's words that a text has, rare words counting more; 0 to 1."""
        return covered(self.weights(question), self.distinct(text))

    def weights(self, question: str) -> dict[str, float]:
        """The distinct words of a question, each with its rarity."""
        return {word: self._rarity(word) for word in self.distinct(question)}

    def distinct(self, text: str) -> frozenset[str]:
        """The words of a text, each once."""
        return _distinct(text, self.language)

    def rarity(self, word: str) -> float:
        """The inverse document frequency of a word as it stands in a text."""
        stems = words(word, self.language)
        return self._rarity(stems[0]) if stems else 0.0

    def _rarity(self, word: str) -> float:
        """The inverse document frequency that BM25 itself uses."""
        column = self._vocabulary.get(word)
        return self._rarest if column is None else float(self._rarities[column])

    def _by_weight(self, question: str, forms: Forms) -> dict[float, list[str]]:
        """The terms of a question by what they count for."""
        asked = terms(question, self.language, forms)
        slight = weights_of(words(question, "none"), self.language)
        each = len(asked) // max(len(slight), 1)  # terms of a word
        found: dict[float, list[str]] = {}
        for at, word in enumerate(asked):
            found.setdefault(slight[at // each], []).append(word)
        return found

    def _weight(self, word: str) -> float:
        """What a word counts for: its rarity, and more for a rare one."""
        rarity = self._rarity(word)
        plain = self.language == "none"
        return rarity if plain else rarity * _emphasis(rarity, self._rarest)

    def _most(self, word: str) -> float:
        """The most that a passage can have of a word."""
        once = self.language == "none" or word.startswith(AS_IT_STANDS)
        return self._weight(word) * (1 if once else 1 + AT_ALL)

    @cached_property
    def _rarities(self) -> NDArray[np.float64]:
        """For each word of the vocabulary."""
        return _rarities(self.scorer, self.passages)

    @cached_property
    def _rarest(self) -> float:
        return _rarest(self.passages)

    def save(self, folder: Path) -> None:
        """Write the counts; bm25s reads them too."""
        self.scorer.save(str(folder), show_progress=False)
        np.save(folder / "terms.npy", self.terms.ids)
        np.save(folder / "starts.npy", self.terms.starts)
        np.save(folder / "sections.npy", self.sections)

    @property
    def _vocabulary(self) -> dict[str, int]:
        vocabulary: dict[str, int] = self.scorer.vocab_dict
        return vocabulary


def build(
    texts: Sequence[str], language: str, sections: NDArray[np.int32] | None = None
) -> WordIndex:
    """The word index of passages, in their order.

    Args:
        sections: of each passage (`backends.rag.sections`); None: each is one of its own.
    """
    if sections is None:
        sections = np.arange(len(texts), dtype=np.int32)
    return _counted([], texts, {FILLER: 0}, language, sections)


def load(folder: Path, language: str) -> WordIndex:
    """A word index as it was saved.

    Raises:
        OSError, ValueError, KeyError: a file of it is missing or damaged.
    """
    scorer = bm25s.BM25.load(str(folder), load_corpus=False, mmap=True)
    ids = np.load(folder / "terms.npy", mmap_mode="r")
    terms = Terms(ids, np.load(folder / "starts.npy"))
    sections = np.load(folder / "sections.npy")
    passages = len(terms.starts) - 1
    if (int(terms.starts[-1]), len(sections)) != (len(ids), passages) or int(
        scorer.scores["num_docs"]
    ) != max(passages, 1):
        raise ValueError("its word counts do not belong together")
    return WordIndex(scorer, language, terms, sections)


def _counted(
    held: list[list[int]],
    texts: Sequence[str],
    vocabulary: dict[str, int],
    language: str,
    sections: NDArray[np.int32],
) -> WordIndex:
    """The word index of passages already numbered and of further texts; extends `vocabulary`."""
    rows = held + [
        # A passage of symbols only counts as one empty word.
        [vocabulary.setdefault(word, len(vocabulary)) for word in terms(text, language) or [FILLER]]
        for text in texts
    ]
    counts = np.asarray([len(row) for row in rows], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    ids = np.fromiter((one for row in rows for one in row), dtype=np.int32, count=int(starts[-1]))
    longest = np.zeros(int(sections.max(initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(longest, sections, counts)
    filler = vocabulary.setdefault(FILLER, len(vocabulary))
    for row, lacking in zip(rows, (longest[sections] - counts).tolist(), strict=True):
        row += [filler] * lacking
    scorer = bm25s.BM25(k1=K1, b=B, method="lucene")
    # Nothing to count is counted as one passage without words: bm25s reads and writes that.
    scorer.index((rows or [[filler]], vocabulary), show_progress=False)
    if language != "none":
        _weigh(scorer, vocabulary, len(rows))
    return WordIndex(scorer, language, Terms(ids, starts), sections)


def _weigh(scorer: Any, vocabulary: Mapping[str, int], passages: int) -> None:
    """Add to BM25's scores of words in passages what it has not (see above)."""
    rarities = np.maximum(_rarities(scorer, passages), 0)  # without passages they mean nothing
    stems = np.zeros(len(rarities))
    stems[[at for word, at in vocabulary.items() if not word.startswith(AS_IT_STANDS)]] = 1
    holding = np.diff(np.asarray(scorer.scores["indptr"]))
    more = np.repeat(AT_ALL * stems * rarities, holding)
    by = np.repeat(_emphasis(rarities, _rarest(passages)), holding)
    scorer.scores["data"] = ((scorer.scores["data"] + more) * by).astype(np.float32)


def _rarities(scorer: Any, passages: int) -> NDArray[np.float64]:
    """The inverse document frequency of each word, as BM25 has it."""
    holding = np.diff(np.asarray(scorer.scores["indptr"]))
    return np.log(1 + (passages - holding + 0.5) / (holding + 0.5))


def _rarest(passages: int) -> float:
    """The inverse document frequency of a word that no passage has."""
    return log(1 + (passages + 0.5) / 0.5)


def _emphasis(rarity: Any, rarest: float) -> Any:
    """What a word's rarity, or each of several, is multiplied by."""
    return (rarity / rarest) ** EMPHASIS


def covered(weights: Mapping[str, float], held: Container[str]) -> float:
    """The share of words by their weights that a text has, 0 to 1.

    Args:
        weights: of a question (`WordIndex.weights`). held: the text's words.
    """
    whole = sum(weights.values())
    return sum(weight for word, weight in weights.items() if word in held) / whole if whole else 0.0


@lru_cache(maxsize=10_000)
def _distinct(text: str, language: str) -> frozenset[str]:
    return frozenset(words(text, language))


@cache
def _stemmer(language: str) -> Any:
    return Stemmer.Stemmer(language)
