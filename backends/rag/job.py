"""The RAG backend at work: a corpus into an index, questions into cited answers.

Behind the face of `backends.rag`; imports torch, faiss and sentence-transformers.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from backends import weights
from backends.base import Context, Data, Metric, Prediction, Step, StepResult
from backends.data import Message
from backends.rag import (
    ABSTAIN_BELOW,
    RETRIEVERS,
    Settings,
    calibration,
    choosing,
    generation,
    making,
    measurement,
    reranker,
    updating,
    words,
    writers,
)
from backends.rag import corpus as corpora
from backends.rag import index as artefact
from backends.rag.answers import Reader
from backends.rag.asking import Answerer, asked_with
from backends.rag.building import Built, built, opened, place_of, reused
from backends.rag.chunks import texts_of
from backends.rag.embedder import DEFAULT_MODEL, Embedder
from backends.rag.embedding import Store
from backends.rag.index import Index, Manifest
from backends.rag.questions import Library, Question
from backends.rag.questions import read as read_questions
from backends.rag.reranker import Reranker
from backends.rag.serving import Found
from backends.rag.updating import Change
from backends.training.meter import Meter
from knowledge.errors import UserError, unknown
from knowledge.quantities import HOUR

FLATTERING = (
    "the questions were made from the documents' own words: they flatter BM25; questions that "
    "people asked tell more"
)


def check(step: Step, settings: Settings, context: Context) -> None:
    """Look at corpus, questions, model and settings before anything is written.

    Raises:
        UserError: there is no document, a question names what is not there, the model's folder
            is missing, or settings contradict each other.
    """
    words.check_language(settings.language)
    if 2 * settings.overlap_tokens > settings.chunk_tokens:
        raise UserError(
            f"step {step.name!r}: overlap_tokens {settings.overlap_tokens} is more than half of "
            f"chunk_tokens {settings.chunk_tokens}; lower the overlap"
        )
    weights.local(step.model or DEFAULT_MODEL, context.artefacts)
    if settings.reranker is not None:
        weights.local(settings.reranker, context.artefacts)
    writers.home(settings.generator, context.artefacts)
    if step.index is not None:
        _check_index(step, context)
        return
    if step.data.corpus is None:
        raise UserError(
            f"step {step.name!r} has no data.corpus; give a folder of documents (or an index)"
        )
    if settings.try_chunk_tokens and step.data.questions is None and not settings.made_questions:
        raise UserError(
            f"step {step.name!r}: try_chunk_tokens needs questions; give data.questions, or have "
            "some made with made_questions"
        )
    if step.data.questions is None:
        corpora.check(step.data.corpus)
        return
    corpus = corpora.read(step.data.corpus, duplicates=settings.duplicates)
    _questions(step.data.questions, {n: one.text for n, one in corpus.texts.items()})


def run(step: Step, settings: Settings, context: Context) -> StepResult:
    """Index the corpus into `index/`; with a questions file, measure and calibrate.

    Raises:
        UserError: bad input.
        Interrupted: the user asked to stop; the vectors made so far are kept for `resume`.
    """
    meter = Meter()
    with meter:
        if step.index is not None:
            made, questions = reused(step, settings, context), None
        elif settings.try_chunk_tokens:
            made, settings, questions = _chosen(step, settings, context, meter)
        else:
            made, questions = built(step, settings, context, meter), None
        metrics, manifest, notes = _measured(step, settings, context, made, questions)
        with artefact.locked(context.folder):
            artefact.publish(made.index, manifest, context.folder)
    Store(context.folder).clear()
    per_hour = context.usd_per_hour
    return StepResult(
        name=step.name,
        method=step.method,
        metrics=metrics,
        seconds=meter.seconds,
        peak_memory_bytes=meter.peak_bytes,
        memory_metric=meter.metric,
        usd=None if per_hour is None else meter.seconds / HOUR * per_hour,
        artefact=artefact.FOLDER,
        counts=made.counts,
        settings=msgspec.to_builtins(settings)
        | {
            "chunk_tokens": manifest.chunk_tokens,
            "precision": manifest.precision,
            "engine": manifest.engine,
            "language": manifest.language,
            "vectors": manifest.vectors.kind,
            "dense_weight": manifest.dense_weight,
            "word_forms": manifest.word_forms,
            "context": manifest.context,
            "abstain_below": round(manifest.abstain_below, 4),
        },
        notes=(*made.notes, *notes),
    )


def predict(folder: Path, texts: Iterable[str], **options: Any) -> Iterator[Prediction]:
    """The answer to each question, in order; options left out are the index's own.

    A list of questions is embedded in batches, anything else one by one as it comes.

    Args:
        options: fields of `backends.rag.asking.Asked`: `k`, `retriever`, `where`...
    Raises:
        UserError: an option is unknown or out of range, or the index or its embedder cannot be
            used.
    """
    answerer, how = Answerer(folder), asked_with(options)
    together = answerer.embedder.batch_size if isinstance(texts, Sequence) else 1

    def answered() -> Iterator[Prediction]:
        waiting = iter(texts)
        said = answerer.manifest
        writer = writers.of(folder, said.generator, said.generator_path)
        while batch := list(islice(waiting, together)):
            if writer is None:
                yield from answerer.answers(batch, how)
                continue
            for text in batch:
                asked = [Message("user", text)]
                yield generation.reply(answerer, writer, asked, how).prediction

    return answered()


def service(folder: Path, **options: Any) -> Found:
    """An index ready to be asked by many.

    Args:
        options: `budget_usd`, refused where a generator of unknown price writes the answers.
    """
    return Found(folder, options.get("budget_usd"))


def evaluate(folder: Path, data: Data, *, retriever: str | None = None) -> dict[str, Metric]:
    """The metrics of an index on other questions (`data.questions`, or else `data.test`).

    Raises:
        UserError: there are no questions, or they name what the index does not hold.
    """
    path = data.questions or data.test
    if path is None:
        raise UserError("no questions to evaluate on; give data.questions")
    index, manifest, model = _opened(folder, retriever)
    questions = _questions(path, texts_of(index.chunks))
    rerank = None if manifest.reranker is None else reranker.load(manifest.reranker)
    asked = model.questions([question.text for question in questions])
    return measurement.metrics(
        Reader(index, model),
        measurement.trial(index, questions, asked, manifest, retriever, rerank),
        retriever or manifest.retriever,
        manifest,
    )


def update(folder: Path, *, watch: bool = False, **options: Any) -> Change | None:
    """Bring an index up to date with its corpus, once or whenever that changes.

    Args:
        watch: go on until `stop` (an event) is set; each change is given to `changed`.
        options: of `backends.rag.updating.update`, or of `watched` with `watch`.
    Raises:
        UserError: as those.
    """
    if not watch:
        return updating.update(folder, **options)
    updating.watched(folder, **options)
    return None


def _check_index(step: Step, context: Context) -> None:
    """Look at an index that lies there already; one of an earlier step may be still to be made."""
    folder = place_of(step.index or "", context)
    if artefact.found(folder) is None and (step.index or "").startswith("step:"):
        return
    index, _ = artefact.load(folder)
    if step.data.questions is not None:
        _questions(step.data.questions, texts_of(index.chunks))


def _measured(
    step: Step,
    settings: Settings,
    context: Context,
    made: Built,
    questions: Sequence[Question] | None,
) -> tuple[dict[str, Metric], Manifest, list[str]]:
    """The metrics on the questions (None: the step's), and the manifest with what they settle."""
    least = ABSTAIN_BELOW if settings.abstain_below is None else settings.abstain_below
    unsettled = made.manifest(settings, context, least)
    if questions is None:
        questions = _asked(step, settings, context, made)
    if not questions:
        return {}, unsettled, []
    context.check_stop("the passages are embedded and kept, the questions not yet asked")
    context.progress.start("asking", len(questions), "questions")
    outcome = calibration.measured(
        made.index,
        made.embedder,
        questions,
        unsettled,
        ways=calibration.ways(settings, unsettled.fusion),
        choose_threshold=settings.abstain_below is None,
        rerank=_reranker(settings.reranker, context),
        seed=context.seed,
    )
    made.counts["questions"] = len(questions)
    context.progress.advance(len(questions))
    figures = {name: one.value for name, one in outcome.metrics.items()}
    context.log(phase="measured", **figures)
    notes = [FLATTERING] if step.data.questions is None else []
    return outcome.metrics, outcome.manifest, [*outcome.notes, *notes]


def _asked(step: Step, settings: Settings, context: Context, made: Built) -> list[Question]:
    """The questions of the step's file, or made from the documents where it has none."""
    if step.data.questions is not None:
        return _questions(step.data.questions, texts_of(made.index.chunks))
    index = made.index
    return making.made(index.chunks, index.words, settings.made_questions, context.seed)


def _chosen(
    step: Step, settings: Settings, context: Context, meter: Meter
) -> tuple[Built, Settings, Sequence[Question]]:
    """The best of the sizes to try, and the questions that did not choose it."""
    choice = choosing.chosen(
        settings,
        lambda mine: built(step, mine, context, meter),
        lambda made: _asked(step, settings, context, made),
        context.seed,
        _reranker(settings.reranker, context),
    )
    for one in choice.tried:
        context.log(phase="tried", **msgspec.to_builtins(one))
    choice.built.notes.extend(choice.notes())
    return choice.built, choice.settings, choice.held_back


def _reranker(name: str | None, context: Context) -> Reranker | None:
    return None if name is None else reranker.load(name, context.artefacts)


def _opened(folder: Path, retriever: str | None) -> tuple[Index, Manifest, Embedder]:
    """The index of a step's folder with the embedder that made it."""
    if retriever is not None and retriever not in RETRIEVERS:
        raise unknown("retriever", retriever, RETRIEVERS)
    index, manifest = artefact.load(folder)
    return index, manifest, opened(folder, manifest)


def _questions(path: str, texts: dict[str, str]) -> list[Question]:
    return read_questions(path, Library(corpora.naming(texts), texts))
