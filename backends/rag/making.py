"""Questions made from the documents themselves, for users who have none yet.

No model writes them: each is the rarer words of a sentence, some left out. They tell whether
passages are found by what stands in them; people ask in other words, so that they flatter BM25.
"""

from collections.abc import Sequence

import numpy as np

from backends.rag.chunks import Chunk
from backends.rag.questions import Question
from backends.rag.sentences import sentences
from backends.rag.words import WordIndex, words

FEWEST_WORDS = 6
KEPT = 5


def made(passages: Sequence[Chunk], index: WordIndex, number: int, seed: int) -> list[Question]:
    """Questions with the passage that each was made from; fewer where there are few sentences."""
    draw = np.random.default_rng(seed)
    found: list[Question] = []
    for at in draw.permutation(len(passages)):
        if len(found) == number:
            break
        chunk = passages[int(at)]
        told = [chunk.text[a:b] for a, b in sentences(chunk.text)]
        told = [one for one in told if len(set(words(one, "none"))) >= FEWEST_WORDS]
        if not told:
            continue
        text = told[int(draw.integers(len(told)))]
        distinct = list(dict.fromkeys(words(text, "none")))
        rare = sorted(distinct, key=lambda word: -index.rarity(word))[: 2 * KEPT]
        kept = set(draw.permutation(rare)[:KEPT].tolist())
        asked = " ".join(word for word in distinct if word in kept)
        found.append(Question(asked, chunk.document, (chunk.start, chunk.end)))
    return found
