"""Abuse, and abuse beside the names of groups of people: found by words, counted by group.

A list of words knows no irony, quotation or dialect, and takes more of what some groups write or
of what is written about them (Dodge et al. 2021, https://arxiv.org/abs/2104.08758); the counts by
group are there to see it.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from knowledge import harms

_SENTENCE = re.compile(r"[.!?。！？]+[\s\"'”’)]+|\n+")
PER_WORDS = 1000


class Harm(NamedTuple):
    """What stands in a text: words, words of abuse, groups named, groups abused in a sentence."""

    words: int
    abuse: int
    groups: frozenset[str]
    abused: frozenset[str]

    @property
    def abuse_rate(self) -> float:
        """Words of abuse in a thousand."""
        return PER_WORDS * self.abuse / self.words if self.words else 0.0


NOTHING = Harm(0, 0, frozenset(), frozenset())


class Detector:
    """Looks for groups and abuse in texts."""

    def __init__(self, more_abuse: Iterable[str] = ()) -> None:
        rows = harms.table().values()
        abuse = [word for row in rows if row.kind == "abuse" for word in row.words]
        self._abuse = _pattern([*abuse, *more_abuse])
        self._groups = {row.id: _pattern(row.words) for row in rows if row.kind == "group"}
        names = [word for row in rows if row.kind == "group" for word in row.words]
        self._group = {
            word: {id_ for id_, pattern in self._groups.items() if pattern.fullmatch(word)}
            for word in names
        }
        self._any_group = _pattern(names)

    def look(self, text: str) -> Harm:
        """What stands in a text."""
        lower = text.lower()
        abuse = len(self._abuse.findall(lower))
        groups = self._named(lower)
        abused: set[str] = set()
        if abuse and groups:
            for sentence in _SENTENCE.split(lower):
                if self._abuse.search(sentence):
                    abused |= self._named(sentence)
        return Harm(len(text.split()), abuse, frozenset(groups), frozenset(abused))

    def _named(self, lower: str) -> set[str]:
        found: set[str] = set()
        for word in set(self._any_group.findall(lower)):
            if word not in self._group:  # an ending that a star let in
                self._group[word] = {g for g, p in self._groups.items() if p.fullmatch(word)}
            found |= self._group[word]
        return found


def _pattern(words: Sequence[str]) -> re.Pattern[str]:
    parts = (re.escape(word.lower()).replace(r"\*", r"\w*") for word in sorted(words, reverse=True))
    return re.compile(rf"(?<![\w-])(?:{'|'.join(parts)})(?![\w-])")
