"""The texts of a step as shards of tokens: to learn from, held out, and general ones to replay."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from backends.base import Context, Step
from backends.curation import corpus as curation
from backends.data.documents import Skipped, contents, files, nothing_in
from backends.data.files import records
from backends.scratch import Settings, vocabulary
from backends.scratch.stream import Shards, open_shards, write_shards
from knowledge.errors import UserError

STREAMED = (".jsonl", ".ndjson", ".parquet", ".pq", ".csv", ".tsv")  # a document a row
TRIED = 200  # texts that a tokenizer must give back
TRIED_CHARACTERS = 2**20  # of them together
TRAIN, HELD, GENERAL, GENERAL_HELD = "train", "validation", "general", "general-validation"
BYTES_PER_ROW = 2000  # bytes of text for each piece of a vocabulary that nobody named
VOCABULARIES = (512, 32768)  # smallest and largest of those


class Corpus(NamedTuple):
    """Shards of what is learnt from and of what is held out, and the bytes of the latter's text."""

    train: Shards
    held: Shards
    held_bytes: int


class Texts(NamedTuple):
    """Texts that can be gone through as often as wanted; perhaps with a tokenizer, and as shards
    of its tokens.
    """

    train: Callable[[], Iterator[str]]
    held: Callable[[], Iterator[str]]
    tokenizer: Path | None = None
    shards: tuple[Path, Path] | None = None


def texts(path: str | Path) -> Iterator[str]:
    """The texts of a file or folder, one after another; tables and JSONL row by row.

    Raises:
        UserError: nothing there, not text, no column `text`.
    """
    found, skipped = files(path)
    given = 0
    for file in found:
        if file.path.suffix.lower() in STREAMED:
            pieces: Iterable[str] = _rows(file.path)
        else:
            try:
                pieces = [document.text for document in contents(file)]
            except UserError as error:
                reason = str(error).removeprefix(f"{file.name}, ").removeprefix(f"{file.name}: ")
                if len(found) == 1:
                    again = "" if ";" in reason else "; give a file of text"
                    raise UserError(f"{file.name}: {reason}{again}") from None
                skipped.append(Skipped(file.name, reason))
                continue
        for text in pieces:
            if text.strip():
                given += 1
                yield text
    if not given:
        raise nothing_in(path, skipped)


def split(step: Step, settings: Settings, context: Context) -> Texts:
    """What a step learns from and what is held out.

    Whole documents are held out, by a hash of their text; of a single one its end.

    Raises:
        UserError: the step names no data, or an earlier step that curated nothing.
    """
    if step.data.train is None:
        raise UserError(f"step {step.name!r} names no text; set data: {{train: FILE or FOLDER}}")
    train = step.data.train
    if train.startswith("step:"):
        return _curated(train.removeprefix("step:"), context)
    if step.data.validation is not None:
        held = step.data.validation
        return Texts(lambda: texts(train), lambda: texts(held))
    return parted(train, settings.validation_share or 0.1)


def _curated(name: str, context: Context) -> Texts:
    """What an earlier step of method `curate` left."""
    if name not in context.artefacts:
        raise UserError(f"data 'step:{name}': no earlier step {name!r} made it; check the plan")
    found = curation.curated(context.artefacts[name])
    shards = found.tokens_train, found.tokens_validation
    return Texts(
        lambda: curation.texts(found.train),
        lambda: curation.texts(found.validation),
        found.tokenizer,
        None if shards[0] is None or shards[1] is None else (shards[0], shards[1]),
    )


def parted(path: str, share: float) -> Texts:
    """The texts of a path in two parts, the second about so large."""
    first = [text for text, _ in zip(texts(path), range(2), strict=False)]
    if len(first) == 1:
        at = int((1 - share) * len(first[0]))
        return Texts(lambda: iter([first[0][:at]]), lambda: iter([first[0][at:]]))
    least = min(_place(text) for text in texts(path))
    below = max(share, math.nextafter(least, 1.0))  # one document at least is held out

    def part(held: bool) -> Iterator[str]:
        return (text for text in texts(path) if (_place(text) < below) is held)

    return Texts(lambda: part(False), lambda: part(True))


def tokenizer_for(settings: Settings, base: Any, domain: Texts, corpus_bytes: int) -> Any:
    """The tokenizer of a step: kept, extended, or trained on what is learnt from.

    Args:
        base: the tokenizer of the model that is continued, or None.
    Raises:
        UserError: it does not give the texts back, or is larger than they support.
    """
    if base is not None:
        if settings.add_tokens:
            return vocabulary.extended(base, domain.train(), settings.add_tokens)
        return base
    named = settings.tokenizer or domain.tokenizer
    if named is not None:
        found = vocabulary.kept(named)
        if found.eos_token_id is None:
            raise UserError(
                f"the tokenizer {str(named)!r} has no end-of-sequence token; take another"
            )
    else:
        size = settings.vocabulary_size
        if size is None and settings.vocabulary in ("bpe", "unigram"):
            least, most = VOCABULARIES
            size = max(least, min(most, corpus_bytes // BYTES_PER_ROW))
        found = vocabulary.trained(
            settings.vocabulary,
            domain.train(),
            size,
            masked=settings.family in ("bert", "modernbert"),
            sentinels=100 if settings.family == "t5" else 0,
            fewer=settings.vocabulary_size is None,
        )
    vocabulary.check_round_trip(found, _tried(domain.train()))
    return found


def _tried(found: Iterator[str]) -> Iterator[str]:
    """The first texts, and of a gigantic one its beginning."""
    seen = 0
    for text, _ in zip(found, range(TRIED), strict=False):
        yield text[: TRIED_CHARACTERS - seen]
        seen += len(text)
        if seen >= TRIED_CHARACTERS:
            return


def corpus(
    found: Texts, tokenizer: Any, folder: Path, names: tuple[str, str], anew: bool, context: Context
) -> Corpus:
    """The shards of texts, written below a folder, or those that a stopped run wrote there."""
    train, held = (folder / name for name in names)
    size = folder / f"{names[1]}.bytes"
    if found.shards is not None and len(tokenizer) == open_shards(found.shards[0]).vocabulary_size:
        train, held = found.shards
        folder.mkdir(parents=True, exist_ok=True)
        size.write_text(str(sum(len(text.encode()) for text in found.held())))
    elif anew or not size.is_file() or _damaged(train) or _damaged(held):
        _write(found.train, tokenizer, train, "the text to learn from", context)
        _write(found.held, tokenizer, held, "the held-out text", context)
        size.write_text(str(sum(len(text.encode()) for text in found.held())))
    return Corpus(open_shards(train), open_shards(held), int(size.read_text()))


def _damaged(folder: Path) -> bool:
    """Whether shards that a stopped run wrote are missing or cut short: they are made again."""
    try:
        open_shards(folder)
    except UserError:
        return True
    return False


def _write(
    found: Callable[[], Iterator[str]], tokenizer: Any, folder: Path, what: str, context: Context
) -> None:
    def watch(done: int) -> None:
        context.progress.advance(done)
        context.check_stop("while the text was cut into tokens; --resume begins that again")

    context.progress.start(what, sum(map(len, found())), "characters")
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    try:
        tokens = vocabulary.encoded(tokenizer, found(), watch)
        write_shards(tokens, folder, len(tokenizer), int(end))
    except UserError as error:
        if "no tokens" not in str(error):
            raise
        raise UserError(
            f"{what} is empty; give more text, or set data.validation or validation_share"
        ) from None


def _rows(path: Path) -> Iterator[str]:
    for record in records(path):
        value = record.cells.get("text", record.cells.get("content"))
        if not isinstance(value, str):
            keys = ", ".join(map(str, record.cells)) or "none"
            raise UserError(
                f"{path.name}, {record.place}: no column 'text' (columns: {keys}); rename it"
            )
        yield value


def _place(text: str) -> float:
    """Where a text's hash lies between 0 and 1."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
