"""Which language a text is in; py3langid is imported with the first text."""

from collections import Counter
from collections.abc import Iterable

ENOUGH = 40  # characters; of less no language can be told
READ = 2000  # characters looked at; more change nothing
# Snowball's names for the languages whose word endings it strips.
SNOWBALL = {
    "ar": "arabic", "hy": "armenian", "eu": "basque", "ca": "catalan", "da": "danish",
    "nl": "dutch", "en": "english", "eo": "esperanto", "et": "estonian", "fi": "finnish",
    "fr": "french", "de": "german", "el": "greek", "hi": "hindi", "hu": "hungarian",
    "id": "indonesian", "ga": "irish", "it": "italian", "lt": "lithuanian", "ne": "nepali",
    "no": "norwegian", "nb": "norwegian", "nn": "norwegian", "pt": "portuguese",
    "ro": "romanian", "ru": "russian", "sr": "serbian", "es": "spanish", "sv": "swedish",
    "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip


def language_of(text: str) -> str | None:
    """The ISO 639-1 code of a text's language; None for a text too short to tell."""
    import py3langid  # 5 MB of tables, wanted only where text is read

    sample = " ".join(text[: 2 * READ].split())[:READ]
    if sum(one.isalpha() for one in sample) < ENOUGH:
        return None
    code, _ = py3langid.classify(sample)
    return str(code)


def stemmed_language(codes: Iterable[str | None]) -> str:
    """The Snowball language of most texts of a corpus; `none` where Snowball has none for it."""
    counted = Counter(code for code in codes if code is not None)
    if not counted:
        return "english"
    return SNOWBALL.get(counted.most_common(1)[0][0], "none")
