"""The RAG backend at work: a corpus into an index, questions into cited answers.

Behind the face of `backends.rag`; imports torch, faiss and sentence-transformers.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from backends import weights
from backends.base import Context, Data, Metric, Prediction, Step, StepResult
from backends.rag import ABSTAIN_BELOW, RETRIEVERS, Settings, measurement, words
from backends.rag import corpus as corpora
from backends.rag import index as artefact
from backends.rag.answers import Reader
from backends.rag.building import Built, built, opened, place_of, reused
from backends.rag.chunks import texts_of
from backends.rag.embedder import DEFAULT_MODEL, Embedder
from backends.rag.embedding import Store
from backends.rag.index import Index, Manifest
from backends.rag.measurement import Trial
from backends.rag.questions import Library, Question
from backends.rag.questions import read as read_questions
from backends.rag.search import ranked
from backends.training.meter import Meter
from knowledge.errors import UserError, unknown
from knowledge.quantities import HOUR


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
    if step.index is not None:
        _check_index(step, context)
        return
    if step.data.corpus is None:
        raise UserError(
            f"step {step.name!r} has no data.corpus; give a folder of documents (or an index)"
        )
    corpus = corpora.read(step.data.corpus)
    if step.data.questions is not None:
        _questions(step.data.questions, {n: one.text for n, one in corpus.texts.items()})


def run(step: Step, settings: Settings, context: Context) -> StepResult:
    """Index the corpus into `index/`; with a questions file, measure and calibrate.

    Raises:
        UserError: bad input.
        Interrupted: the user asked to stop; the vectors made so far are kept for `resume`.
    """
    meter = Meter()
    with meter:
        if step.index is None:
            made = built(step, settings, context, meter)
        else:
            made = reused(step, settings, context)
        metrics, manifest, notes = _measured(step, settings, context, made)
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
            "abstain_below": round(manifest.abstain_below, 4),
        },
        notes=(*made.notes, *notes),
    )


def predict(
    folder: Path,
    texts: Iterable[str],
    *,
    k: int | None = None,
    retriever: str | None = None,
    sentences: int | None = None,
    abstain_below: float | None = None,
) -> Iterator[Prediction]:
    """The answer to each question, in order; options left out are the index's own.

    A list of questions is embedded in batches, anything else one by one as it comes.

    Args:
        k: passages cited.
        retriever: `dense`, `bm25` or `hybrid`.
        sentences: sentences taken as the answer.
        abstain_below: least support to answer, 0 to 1.
    Raises:
        UserError: an option is out of range, or the index or its embedder cannot be used.
    """
    index, manifest, model = _opened(folder, retriever)
    k = manifest.top_k if k is None else k
    if k < 1:
        raise UserError(f"k is {k}; at least one passage is needed")
    least = manifest.abstain_below if abstain_below is None else abstain_below
    reader = Reader(index, model)
    together = model.batch_size if isinstance(texts, Sequence) else 1

    def answered() -> Iterator[Prediction]:
        waiting = iter(texts)
        while batch := list(islice(waiting, together)):
            asked = model.questions(batch)
            found = ranked(
                index, batch, asked, retriever or manifest.retriever, manifest.dense_weight
            )
            for question, vector, hits in zip(batch, asked, found, strict=True):
                yield reader.answer(
                    question,
                    vector,
                    hits[:k],
                    sentences=sentences or manifest.answer_sentences,
                    abstain_below=least,
                )

    return answered()


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
    made = _trial(index, questions, model, manifest.dense_weight)
    chosen = retriever or manifest.retriever
    said = measurement.predictions(
        Reader(index, model),
        made,
        chosen,
        top_k=manifest.top_k,
        sentences=manifest.answer_sentences,
        abstain_below=manifest.abstain_below,
    )
    return measurement.retrieval(index, made, chosen) | measurement.answers(made, said)


def _check_index(step: Step, context: Context) -> None:
    """Look at an index that lies there already; one of an earlier step may be still to be made."""
    folder = place_of(step.index or "", context)
    if artefact.found(folder) is None and (step.index or "").startswith("step:"):
        return
    index, _ = artefact.load(folder)
    if step.data.questions is not None:
        _questions(step.data.questions, texts_of(index.chunks))


def _measured(
    step: Step, settings: Settings, context: Context, made: Built
) -> tuple[dict[str, Metric], Manifest, list[str]]:
    """The metrics on the step's questions, and the manifest with the threshold settled."""
    least = ABSTAIN_BELOW if settings.abstain_below is None else settings.abstain_below
    metrics: dict[str, Metric] = {}
    notes: list[str] = []
    if step.data.questions is not None:
        context.check_stop("the passages are embedded and kept, the questions not yet asked")
        questions = _questions(step.data.questions, texts_of(made.index.chunks))
        context.progress.start("asking", len(questions), "questions")
        asked = _trial(made.index, questions, made.embedder, settings.dense_weight)
        if settings.abstain_below is None:
            calibrated = measurement.threshold(
                made.index, asked, settings.retriever, settings.top_k
            )
            if calibrated is not None:
                least = calibrated
                notes.append(f"abstains below support {least:.3f}, calibrated on the questions")
        said = measurement.predictions(
            Reader(made.index, made.embedder),
            asked,
            settings.retriever,
            top_k=settings.top_k,
            sentences=settings.answer_sentences,
            abstain_below=least,
        )
        metrics = measurement.retrieval(made.index, asked, settings.retriever, context.seed)
        metrics |= measurement.answers(asked, said, context.seed)
        if better := measurement.better(metrics):
            notes.append(f"{better} alone ranks better here: set retriever to {better!r}")
        made.counts["questions"] = len(questions)
        context.progress.advance(len(questions))
        context.log(phase="measured", **{name: one.value for name, one in metrics.items()})
    return metrics, made.manifest(settings, context, least), notes


def _opened(folder: Path, retriever: str | None) -> tuple[Index, Manifest, Embedder]:
    """The index of a step's folder with the embedder that made it."""
    if retriever is not None and retriever not in RETRIEVERS:
        raise unknown("retriever", retriever, RETRIEVERS)
    index, manifest = artefact.load(folder)
    return index, manifest, opened(folder, manifest)


def _trial(
    index: Index, questions: Sequence[Question], model: Embedder, dense_weight: float
) -> Trial:
    asked = model.questions([question.text for question in questions])
    return measurement.trial(index, questions, asked, dense_weight)


def _questions(path: str, texts: dict[str, str]) -> list[Question]:
    return read_questions(path, Library(corpora.naming(texts), texts))
