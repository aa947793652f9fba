"""A model that finds parts of texts, whatever made it: texts in, spans with labels out.

Texts longer than the context are read in pieces. Shapes: B rows of a batch, T tokens, H hidden,
C tags.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from backends import data, evaluate, weights
from backends.base import Context, Metric, Prediction
from backends.data import Span, Tagged
from backends.data.tags import OUTSIDE, parted
from backends.finetune.classifiers import AT_ONCE, labels_of
from backends.training import batches, fourbit, precision, silence
from backends.training.batches import IGNORED

SCORED_AT_ONCE = 64


class Piece(NamedTuple):
    """Tokens of a text: their ids, the characters of each, and the word that each belongs to.

    Marks of the model's own, which stand for no characters, have no word.
    """

    ids: list[int]
    places: list[tuple[int, int]]
    words: list[int | None]


class Tagger(NamedTuple):
    """A model of token logits with what it needs: tokenizer, tags by number, tokens it reads."""

    model: Any
    tokenizer: Any
    tags: Sequence[str]
    max_length: int

    def spans(self, texts: Sequence[str], context: Context | None = None) -> list[list[Span]]:
        """The spans found in each text, in their order."""
        cut = [pieces(self.tokenizer, text, self.max_length) for text in texts]
        flat = [piece for some in cut for piece in some]
        said = iter(self._said(flat, context))
        return [
            [one for piece in some for one in spans_of(text, piece, next(said), self.tags)]
            for text, some in zip(texts, cut, strict=True)
        ]

    def predictions(self, texts: Iterable[str]) -> Iterator[Prediction]:
        """What is found in each text as JSON, in order, while texts still come."""
        stream = iter(texts)
        while some := list(islice(stream, AT_ONCE)):
            for text, found in zip(some, self.spans(some), strict=True):
                yield Prediction(text=text, answer=data.spans_json(text, found))

    def metrics(
        self, rows: Sequence[Tagged], context: Context | None = None
    ) -> tuple[dict[str, Metric], list[list[Span]]]:
        """F1, precision and recall of whole spans, and the spans that were found."""
        said = self.spans([row.text for row in rows], context)
        return evaluate.found_spans(
            [plain(row.spans) for row in rows], list(map(plain, said))
        ), said

    def _said(self, flat: Sequence[Piece], context: Context | None) -> list[list[int]]:
        """The number of the likeliest tag of each token."""
        place = next(self.model.parameters()).device
        found: list[list[int]] = [[] for _ in flat]
        done = 0
        if context is not None:
            context.progress.start("scoring", len(flat), "texts")
        with torch.inference_mode():
            for rows in batches.sorted_batches([len(p.ids) for p in flat], SCORED_AT_ONCE):
                batch = batches.padded(
                    [{"input_ids": flat[row].ids} for row in rows], self.tokenizer.pad_token_id or 0
                )
                width = batch["input_ids"].shape[1]
                outputs = self.model(**{key: value.to(place) for key, value in batch.items()})
                best = outputs.logits[:, -width:].argmax(-1).tolist()
                for row, tags in zip(rows, best, strict=True):
                    found[row] = tags[: len(flat[row].ids)]
                done += len(rows)
                if context is not None:
                    context.progress.advance(done)
                    context.check_stop(f"stopped at text {done} of {len(flat)} (scoring)")
        return found


def plain(spans: Iterable[Span]) -> list[tuple[int, int, str]]:
    """Spans as the metrics take them."""
    return [(one.start, one.end, one.label) for one in spans]


def tags_of(rows: Iterable[Tagged]) -> tuple[str, ...]:
    """Every tag that the spans of rows need: outside, and a beginning and a going-on a label."""
    labels = sorted({span.label for row in rows for span in row.spans})
    return (OUTSIDE, *(f"{head}-{label}" for label in labels for head in "BI"))


def pieces(tokenizer: Any, text: str, length: int) -> list[Piece]:
    """A text as tokens, in as many pieces as the length asks for; one for an empty text."""
    coded = tokenizer(
        text, truncation=True, max_length=length, return_overflowing_tokens=True,
        return_offsets_mapping=True, verbose=False,
    )  # fmt: skip
    found = []
    for number, ids in enumerate(coded["input_ids"]):
        places = [(a, b) for a, b in coded["offset_mapping"][number]]
        found.append(Piece(list(ids), places, coded.word_ids(number)))
    blank = Piece([tokenizer.pad_token_id or 0], [(0, 0)], [None])
    return [piece for piece in found if piece.ids] or [blank]


def labels_for(piece: Piece, spans: Sequence[Span], tags: Sequence[str]) -> list[int]:
    """The number of each token's tag; marks of the model's own are not learnt."""
    number = {tag: place for place, tag in enumerate(tags)}
    begun: set[Span] = set()
    found = []
    for (start, end), word in zip(piece.places, piece.words, strict=True):
        if word is None or start == end:
            found.append(IGNORED)
            continue
        inside = next((one for one in spans if one.start < end and start < one.end), None)
        if inside is None:
            found.append(number[OUTSIDE])
            continue
        # What was begun in the piece before goes on here.
        goes_on = inside in begun or start > inside.start
        found.append(number[f"{'I' if goes_on else 'B'}-{inside.label}"])
        begun.add(inside)
    return found


def spans_of(text: str, piece: Piece, said: Sequence[int], tags: Sequence[str]) -> list[Span]:
    """The spans that a piece's tags mark: whole words, by what is said of a word's first token."""
    found: list[Span] = []
    open_label: str | None = None
    last: int | None = None
    for (start, end), word, number in zip(piece.places, piece.words, said, strict=True):
        if word is None or start == end:
            open_label = last = None
            continue
        if word == last:
            if open_label is not None:
                found[-1] = Span(found[-1].start, end, open_label)
            continue
        begins, label = parted(tags[number])
        if label is not None and label == open_label and not begins:
            found[-1] = Span(found[-1].start, end, label)
        elif label is not None:
            found.append(Span(start, end, label))
        open_label, last = label, word
    return [_trimmed(text, one) for one in found]


def _trimmed(text: str, span: Span) -> Span:
    """A span without the blanks that some tokenizers count to a word."""
    words = text[span.start : span.end]
    start = span.start + len(words) - len(words.lstrip())
    return Span(start, max(start, span.start + len(words.rstrip())), span.label)


def load(folder: Path) -> Tagger:
    """The tagger in a `model/` folder.

    Raises:
        UserError: there is none, or it cannot be loaded.
    """
    weights.refuse_unfinished(folder)
    silence.quiet()
    with weights.loading(str(folder)):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model: Any = AutoModelForTokenClassification.from_pretrained(folder, use_safetensors=True)
    fourbit.mended(model)
    model.requires_grad_(False).eval()
    if not getattr(model, "is_quantized", False):
        model.to(precision.device())
    return Tagger(model, tokenizer, labels_of(model.config), int(tokenizer.model_max_length))
