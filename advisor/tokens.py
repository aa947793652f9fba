"""Tokens of the user's own texts: counted with the model's tokenizer, else estimated by kind.

A tokenizer is used where it is on disk: beside a model's config, or in the cache of the hub. It
is never downloaded. An estimate says how far it may be off.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from advisor.estimates.subject import architecture
from advisor.job import Job
from backends import data, weights
from knowledge import methods, models, token_rates
from knowledge.errors import UserError
from knowledge.quantities import Range, exactly

SAMPLE = 2000  # texts whose kind is looked at; more say the same
LOOKED_AT = 4000  # characters of each
FILE = "tokenizer.json"


class Count(msgspec.Struct, frozen=True):
    """Tokens of texts: how many in all, of how many texts, and how that is known."""

    tokens: Range
    texts: int
    characters: int
    how: Literal["counted", "estimated"]
    by: str
    raw: bool = False
    """Plain text without answers: trained on once, all of it."""

    @property
    def each(self) -> Range:
        """Mean tokens of one text."""
        return self.tokens.scaled(1 / max(1, self.texts))

    @property
    def said(self) -> str:
        """How the count is known, in words."""
        if self.how == "counted":
            return f"{self.tokens.mid:,.0f} tokens, counted with {self.by}"
        off = max(self.tokens.high / self.tokens.mid, self.tokens.mid / self.tokens.low) - 1
        return f"about {self.tokens.mid:,.0f} tokens, estimated as {self.by}, up to {off:.0%} off"


def having(job: Job, count: Count) -> Job:
    """The job with its work counted, where it does not say itself: corpus, text or examples."""
    method = methods.find(job.method)
    if "index" in method.phases:
        return (
            job if job.corpus_tokens is not None else replace(job, corpus_tokens=count.tokens.mid)
        )
    if "training" not in method.phases:
        return job if job.tokens_in is not None else replace(job, tokens_in=count.each.mid)
    if count.raw:
        said = job.tokens is not None or job.examples is not None
        return job if said else replace(job, tokens=count.tokens.mid)
    return replace(
        job,
        examples=count.texts if job.examples is None else job.examples,
        tokens_per_example=job.tokens_per_example or max(1.0, count.each.mid),
    )


def of_file(path: Path, model: str | dict[str, Any] | None = None) -> Count:
    """Tokens of a file of examples (text and answer together), or of a folder of documents.

    Raises:
        UserError: it cannot be read as data, or holds no text.
    """
    if path.is_dir():
        documents, _ = data.documents(str(path))
        return replace(of_texts([document.text for document in documents], model), raw=True)
    texts = []
    rows = data.read(path).rows
    for row in rows:
        answer = data.target_text(row)
        texts.append(f"{data.input_text(row)}\n{answer}" if answer else data.input_text(row))
    raw = all(isinstance(row, data.Text) for row in rows)
    return replace(of_texts(texts, model), raw=raw)


def of_texts(texts: Sequence[str], model: str | dict[str, Any] | None = None) -> Count:
    """Tokens of texts in the model's vocabulary."""
    characters = sum(map(len, texts))
    place = tokenizer_of(model)
    if place is not None and find_spec("tokenizers") is not None:
        return Count(exactly(float(counted(place, texts))), len(texts), characters, "counted",
                     str(place))  # fmt: skip
    kinds: Counter[str] = Counter()
    for text in texts[:: max(1, len(texts) // SAMPLE)]:
        kinds[token_rates.kind(text[:LOOKED_AT])] += len(text)
    seen = sum(kinds.values()) or 1
    vocabulary = _vocabulary(model)
    tokens = exactly(0.0)
    for name, share in kinds.items():
        part = round(characters * share / seen)
        tokens = tokens + token_rates.table()[name].tokens(part, vocabulary)
    by = ", ".join(token_rates.table()[name].says for name, _ in kinds.most_common(3))
    return Count(tokens, len(texts), characters, "estimated", by)


def tokenizer_of(model: str | dict[str, Any] | None) -> Path | None:
    """The tokenizer of a model where it is on disk; None where it is not."""
    if not isinstance(model, str):
        return None
    place = Path(model)
    if place.suffix == ".json":
        place = place.parent
    if (place / FILE).is_file():
        return place / FILE
    names = [model]
    try:
        row = models.find(model)
    except UserError:
        pass
    else:
        names += [row.hub, *([row.chat_hub] if row.chat_hub else [])]
    for name in names:
        if "/" in name and (found := weights.cached(name, FILE)):
            return found[-1]
    return None


def counted(place: Path, texts: Iterable[str], *, special: bool = True) -> int:
    """Tokens in all by a tokenizer's file, with or without those that frame each text.

    Raises:
        UserError: the tokenizer's file is damaged.
    """
    from tokenizers import Tokenizer  # an extra, and only where a tokenizer is on disk

    try:
        tokenizer = Tokenizer.from_file(str(place))
    except Exception as error:  # the library raises a bare Exception
        raise UserError(f"{str(place)!r} is no tokenizer: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return sum(
        len(encoding.ids)
        for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=special)
    )


def _vocabulary(model: str | dict[str, Any] | None) -> int | None:
    try:
        return architecture(model).vocab
    except UserError:
        return None
