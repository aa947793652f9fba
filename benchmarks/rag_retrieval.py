"""Retrieval side by side: the same passages, the same encoder, several sets, peers in one run.

    python benchmarks/rag_retrieval.py --data PATH [--sets xquad-en cookbook rust] [--peers]

PATH holds `xquad` (https://github.com/google-deepmind/xquad), `cookbook_docs_rag` (the
documentation set of https://github.com/anthropics/anthropic-cookbook) and `rust_book_docs`
(https://github.com/rust-lang/book). A question's rank is that of its right document, whichever of
its passages was found. `advisor` is what a plan without questions does; `advisor, weight chosen`
takes the fusion's weight from the other half of the questions. Peers that are installed are
measured with `--peers`: txtai, LangChain, LlamaIndex, Haystack.
"""

import argparse
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rag_sets import Set, found

from backends import evaluate, weights
from backends.data.languages import language_of, stemmed_language
from backends.rag import building, calibration, embedder, vectors, words
from backends.rag import corpus as corpora
from backends.rag.chunks import Chunk, chunks
from backends.rag.index import Index
from backends.rag.questions import Question
from backends.rag.search import candidates, fused, ranked

SIZE, OVERLAP = 220, 40


def cut(data: Set, model: embedder.Embedder) -> list[Chunk]:
    """The passages of a set; a document's name is its number."""
    every: list[Chunk] = []
    for number, (title, text, kind) in enumerate(data.documents):
        every += chunks(
            str(number), text, model.starts, size=SIZE, overlap=OVERLAP, kind=kind, title=title
        )
    return every


def rank_of(passages: Sequence[int], every: Sequence[Chunk], right: set[int]) -> int | None:
    """The rank of the first right document among the documents of passages."""
    seen: dict[str, None] = {}
    for at in passages:
        document = every[at].document
        seen.setdefault(document)
        if int(document) in right:
            return len(seen)
    return None


def told(name: str, ranks: list[int | None], seconds: float) -> None:
    one = evaluate.retrieval(ranks)
    mrr = one["mrr"]
    cells = "".join(f"{one[f'recall@{cut}'].value:9.3f}" for cut in (1, 5, 10))
    each = 1000 * seconds / len(ranks)
    print(
        f"  {name:32}{cells}{mrr.value:9.3f} ({mrr.low:.3f} to {mrr.high:.3f}){each:9.1f}",
        flush=True,
    )


def ours(data: Set, model: embedder.Embedder, every: list[Chunk]) -> None:
    texts = [chunk.searched for chunk in every]
    language = stemmed_language(language_of(text) for _, text, _ in data.documents)
    index = Index(every, vectors.built(model.passages(texts)), words.build(texts, language))
    strange = corpora.is_spelt_out(texts, model.starts)
    weight = building.DENSE_WEIGHT_SPELT_OUT if strange else building.DENSE_WEIGHT
    asked = [question for question, _ in data.questions]
    right = [one for _, one in data.questions]
    for retriever in ("dense", "bm25", "hybrid"):
        begun = time.perf_counter()
        questions = model.questions(asked)
        hits = list(ranked(index, asked, questions, retriever, weight))
        spent = time.perf_counter() - begun
        ranks = [
            rank_of([hit.passage for hit in held], every, one)
            for held, one in zip(hits, right, strict=True)
        ]
        name = {"dense": "dense", "bm25": f"BM25, {language}", "hybrid": f"hybrid {weight:g}"}
        told(f"advisor: {name[retriever]}", ranks, spent)
    begun = time.perf_counter()
    chosen = _chosen(index, data, asked, questions, weight)
    told("advisor: hybrid, weight chosen", chosen, time.perf_counter() - begun)


def _chosen(
    index: Index, data: Set, asked: list[str], questions: np.ndarray, usual: float
) -> list[int | None]:
    """The ranks with the weight that the other half of the questions chooses."""
    named = [Question(text, str(min(right))) for text, right in data.questions]
    held = list(candidates(index, asked, questions, "hybrid"))
    table = calibration.reciprocal_ranks(index, named, held)
    halves = calibration.halves_of(len(asked), 13)
    weights_of = [calibration.best_weight(table[:, halves != half], usual) for half in (0, 1)]
    ranks: list[int | None] = []
    for number, one in enumerate(held):
        weight = weights_of[halves[number]]
        order = one.passages[np.lexsort((one.passages, -fused(one, weight)))]
        passages = [int(at) for at in order]
        ranks.append(rank_of(passages, index.chunks, data.questions[number][1]))
    return ranks


def peers(data: Set, every: list[Chunk], model: str) -> None:
    from rag_peers import installed

    texts = [chunk.searched for chunk in every]
    for library, make in installed():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, search in make(texts, model).items():
                begun = time.perf_counter()
                found_places = [search(question) for question, _ in data.questions]
                spent = time.perf_counter() - begun
                ranks = [
                    rank_of(places, every, right)
                    for places, (_, right) in zip(found_places, data.questions, strict=True)
                ]
                told(f"{library}: {name}", ranks, spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the sets")
    parser.add_argument("--sets", nargs="+", default=["xquad-en", "cookbook", "rust"])
    parser.add_argument("--peers", action="store_true", help="measure other libraries too")
    asked = parser.parse_args()
    model = embedder.load(embedder.DEFAULT_MODEL)
    folder = weights.local(embedder.DEFAULT_MODEL)
    for name in asked.sets:
        data = found(asked.data, name)
        every = cut(data, model)
        print(
            f"{data.name}: {len(data.documents)} documents, {len(every)} passages, "
            f"{len(data.questions)} questions"
        )
        print(
            f"  {'':32}{'recall@1':>9}{'@5':>9}{'@10':>9}{'MRR':>9} {'95 %':18}{'ms each':>7}",
            flush=True,
        )
        ours(data, model, every)
        if asked.peers:
            peers(data, every, folder)


if __name__ == "__main__":
    main()
