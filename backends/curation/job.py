"""The curation backend at work: raw text into `corpus/`, with a report, and perhaps tokens.

Behind the face of `backends.curation`.
"""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from backends import weights
from backends.base import Context, Data, Metric, Prediction, Step, StepResult
from backends.curation import Settings
from backends.curation.contamination import Evaluation
from backends.curation.corpus import FOLDER, REPORT, curated, curated_parts, evaluation_items
from backends.curation.publishing import EXACT_COPIES, NEAR_COPIES, Written, published
from backends.curation.reading import Raw, raw_documents
from backends.curation.records import Doc, Ledger
from backends.curation.sieves import READ, Sieves, batches
from backends.curation.sifting import sifted
from backends.curation.telling import Report, page, report
from backends.curation.tokens import Tokens, tokenised, usual_rate
from backends.data.documents import files
from backends.training.meter import Meter
from knowledge import filters
from knowledge.errors import UserError
from knowledge.files import text_of
from knowledge.quantities import HOUR

WORK = "work"
SETTINGS = "settings.json"
LEARNED = ("bpe", "unigram")
OF_A_MODEL = ("keep", "extend")


def check(step: Step, settings: Settings, context: Context) -> None:
    """Look at source and settings before anything is written.

    Raises:
        UserError: there is no source, no such filter, or settings that contradict each other.
    """
    files(_source(step))
    filters.chosen(settings.filters, settings.without)
    for code in settings.languages:
        if len(code) != 2 or not code.isalpha() or not code.islower():
            raise UserError(f"step {step.name!r}: no language {code!r}; give ISO 639-1, such as en")
    if settings.tokenizer in LEARNED and settings.vocabulary_size is None:
        raise UserError(
            f"step {step.name!r}: a {settings.tokenizer} tokenizer needs vocabulary_size; "
            "8,000 to 50,000 are usual"
        )
    if settings.tokenizer in OF_A_MODEL:
        if step.model is None:
            raise UserError(
                f"step {step.name!r}: tokenizer {settings.tokenizer!r} is that of a model; "
                "give the step a model"
            )
        weights.local(step.model, context.artefacts)
    if step.data.test is not None:
        files(step.data.test)
    if settings.abuse_words is not None:
        text_of(Path(settings.abuse_words), "file of words")


def run(step: Step, settings: Settings, context: Context) -> StepResult:
    """Make `corpus/` out of the source: documents, report, tokens.

    Raises:
        UserError: bad input, or nothing left of it; the report says where it went.
        Interrupted: the user asked to stop; what was sifted is kept for `resume`.
    """
    with Meter() as meter:
        work, beside = context.folder / WORK, context.folder / f".{FOLDER}.new"
        if not context.resume:
            shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(beside, ignore_errors=True)
        sieves = _sieves(step.data.test, settings)
        ledger = sifted(_source(step), sieves, settings.separator, context, work)
        beside.mkdir(parents=True)
        try:
            written = published(work, beside, settings, context.seed, ledger)
            tokens = _tokens(step, settings, context, beside, written)
        except OSError as error:
            raise UserError(
                f"cannot write in {str(beside)!r}: {error.strerror}; make room, run with --resume"
            ) from None
        steps = (READ, *sieves.steps, EXACT_COPIES, NEAR_COPIES)
        rate = usual_rate(curated_parts(beside)[0])
        told = report(ledger, steps, written, tokens, rate, _notes(settings))
        _publish(told, settings, step.name, beside, context.folder / FOLDER)
        shutil.rmtree(work)
    return _result(step, settings, context, meter, told)


def predict(folder: Path, texts: Iterable[str]) -> Iterator[Prediction]:
    """Whether each text would be kept by the steps that look at one text: `kept` or the step.

    Copies are not looked for: a text alone has none.
    """
    sieves = _sieves(None, _held_settings(folder))
    for text in texts:
        ledger = Ledger()
        kept = sieves.sifted([Doc("text", text)], ledger)
        dropped = [(name, t) for name, t in ledger.tallies.items() if t.dropped.documents]
        if kept:
            yield Prediction(text, label="kept", answer=kept[0].text)
        else:
            name, tally = dropped[0]
            yield Prediction(text, label=name, answer=tally.dropped_samples[0].reason)


def evaluate(folder: Path, data: Data) -> dict[str, Metric]:
    """The share of other documents (`data.corpus`, or else `data.test`) that would be kept.

    Raises:
        UserError: there are none.
    """
    path = data.corpus or data.test
    if path is None:
        raise UserError("no documents to look at; give data.corpus")
    sieves, read, kept = _sieves(None, _held_settings(folder)), 0, 0
    docs = (Doc(raw.name, raw.text) for raw in raw_documents(path) if isinstance(raw, Raw))
    for batch in batches(docs):
        read += len(batch)
        kept += len(sieves.sifted(batch, Ledger()))
    if not read:
        raise UserError(f"no document in {path!r}")
    return {"kept": Metric(kept / read, n=read)}


def _source(step: Step) -> str:
    source = step.data.corpus or step.data.train
    if source is None:
        raise UserError(f"step {step.name!r} has no data.corpus; give a folder or file of raw text")
    if source.startswith("step:"):
        raise UserError(
            f"step {step.name!r}: curation reads files, not {source!r}; give a folder or file"
        )
    return source


def _sieves(evaluation: str | None, settings: Settings) -> Sieves:
    more = settings.abuse_words
    words = text_of(Path(more), "file of words").split("\n") if more is not None else []
    return Sieves(
        settings,
        None if evaluation is None else Evaluation(evaluation_items(evaluation)),
        [word.strip() for word in words if word.strip()],
    )


def _tokens(
    step: Step, settings: Settings, context: Context, beside: Path, written: Written
) -> Tokens | None:
    if not written.train.documents or settings.tokenizer is None:
        return None
    model = step.model and weights.local(step.model, context.artefacts)
    return tokenised(beside, settings, model, context.progress)


def _notes(settings: Settings) -> list[str]:
    notes = []
    if settings.duplicates != "near" and settings.validation:
        notes.append(
            "near copies were kept: the part held back may resemble what is trained on, and a "
            "loss measured on it flatters"
        )
    return notes


def _publish(told: Report, settings: Settings, name: str, beside: Path, folder: Path) -> None:
    """Give the corpus its name, whole; where nothing is left, the report alone.

    Raises:
        UserError: nothing is left.
    """
    (beside / REPORT).write_bytes(msgspec.json.format(msgspec.json.encode(told)))
    (beside / "report.html").write_text(page(told, f"Curation: {name}"), encoding="utf-8")
    (beside / SETTINGS).write_bytes(msgspec.json.encode(settings))
    if told.documents_kept:
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
        return
    lost = folder.with_name("nothing-left")
    shutil.rmtree(lost, ignore_errors=True)
    beside.rename(lost)
    most = max(told.steps, key=lambda line: line.documents_dropped)
    raise UserError(
        f"nothing is left of {told.documents_read:,} documents: {most.step} took "
        f"{most.documents_dropped:,} ({', '.join(list(most.reasons)[:2])}); "
        f"look at {lost / 'report.html'} and leave steps out with 'without'"
    )


def _held_settings(folder: Path) -> Settings:
    curated(folder)  # says what is missing
    corpus = folder / FOLDER if (folder / FOLDER).is_dir() else folder
    return msgspec.json.decode((corpus / SETTINGS).read_bytes(), type=Settings)


def _result(
    step: Step, settings: Settings, context: Context, meter: Meter, told: Report
) -> StepResult:
    metrics = {"survival": Metric(told.survival, n=told.documents_read)}
    metrics["bytes_per_token"] = Metric(told.bytes_per_token)
    if told.tokens_per_word is not None:
        metrics["tokens_per_word"] = Metric(told.tokens_per_word)
    per_hour = context.usd_per_hour
    return StepResult(
        name=step.name,
        method=step.method,
        metrics=metrics,
        seconds=meter.seconds,
        peak_memory_bytes=meter.peak_bytes,
        memory_metric=meter.metric,
        usd=None if per_hour is None else meter.seconds / HOUR * per_hour,
        artefact=FOLDER,
        counts={
            "documents_read": told.documents_read,
            "documents_kept": told.documents_kept,
            "tokens_train": told.tokens_train,
            "tokens_validation": told.tokens_validation,
        }
        | {f"dropped by {line.step}": n for line in told.steps if (n := line.documents_dropped)},
        settings=msgspec.to_builtins(settings),
        notes=told.notes,
    )
