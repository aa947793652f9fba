"""Words that make a sentence a question, and say little of what the answer's passage holds.

Documents seldom have them, so that their rarity makes too much of them. Lists are of the languages
whose questions were measured (benchmarks/RAG.md): interrogatives, and in English the verbs that a
question needs and the pronouns of who asks and who is asked.
"""

from collections.abc import Sequence

WEIGHT = 0.3  # what such a word counts for

_LISTED = {
    "english": "what which who whom whose when where why how do does did doing done can could "
    "should would will shall may might must has have had "
    "i you we they he she it me my your our its",
    "german": "wer wem wen wessen was welche welcher welches welchen welchem wie wo wann warum "
    "wieso weshalb woher wohin womit wodurch wofür woran worauf woraus worin worum wovon wozu",
    "spanish": "qué cuál cuáles quién quiénes cómo cuándo dónde cuánto cuántos cuánta cuántas",
}
QUESTION_WORDS = {language: frozenset(listed.split()) for language, listed in _LISTED.items()}


def weights_of(asked: Sequence[str], language: str) -> list[float]:
    """For each word of a question, in lower case as it stands, what it counts for; 1 for most."""
    slight = QUESTION_WORDS.get(language, frozenset())
    return [WEIGHT if word in slight else 1.0 for word in asked]
