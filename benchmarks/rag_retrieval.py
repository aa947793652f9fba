"""Retrieval side by side: the same passages, the same encoder, several sets, peers in one run.

    python benchmarks/rag_retrieval.py --data PATH [--sets xquad-en cookbook rust] [--peers]

PATH holds `xquad` (https://github.com/google-deepmind/xquad), `cookbook_docs_rag` (the
documentation set of https://github.com/anthropics/anthropic-cookbook) and `rust_book_docs`
(https://github.com/rust-lang/book). A question's rank is that of its right document, whichever of
its passages was found. `advisor` is what a plan without questions does; `hybrid, searched` is what
one with a questions file does, out of sample: the questions fall into five parts, and each part is
ranked in the way that the questions of the other four chose (`backends.rag.calibration`). Peers
that are installed are measured with `--peers`: txtai, LangChain, LlamaIndex, Haystack. With
`--handed` passages and questions are embedded once and every library is handed the same vectors.
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
from backends.rag import Settings, building, calibration, embedder, vectors, words
from backends.rag import corpus as corpora
from backends.rag.chunks import Chunk, chunks
from backends.rag.fusion import Fusion
from backends.rag.index import Index
from backends.rag.questions import Question
from backends.rag.search import Hit, ranked
from backends.rag.sections import sections

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


class Vectors:
    """Vectors of texts, each made once.

    Args:
        file: where they are kept from one run to the next; None: nowhere.
    """

    def __init__(self, model: embedder.Embedder, file: Path | None) -> None:
        self.model = model
        self.file = file
        self.held: dict[str, np.ndarray] = {}
        if file is not None and file.is_file():
            with np.load(file) as kept:
                self.held = dict(zip(kept["texts"].tolist(), kept["vectors"], strict=True))

    def of(self, texts: Sequence[str]) -> np.ndarray:
        """One row a text, however its white space is: the encoder takes all of it alike.

        So does it passages and questions.
        """
        keys = [" ".join(text.split()) for text in texts]
        fresh = {key: text for key, text in zip(keys, texts, strict=True) if key not in self.held}
        if fresh:
            self.held.update(zip(fresh, self.model.passages(list(fresh.values())), strict=True))
            if self.file is not None:
                made = np.asarray(list(self.held.values()))
                np.savez(self.file, texts=np.asarray(list(self.held)), vectors=made)
        return np.asarray([self.held[key] for key in keys], dtype=np.float32)


def ours(data: Set, made: Vectors, every: list[Chunk]) -> None:
    texts = [chunk.searched for chunk in every]
    language = stemmed_language(language_of(text) for _, text, _ in data.documents)
    counted = words.build(texts, language, sections(every))
    index = Index(every, vectors.built(made.of(texts)), counted)
    strange = corpora.is_spelt_out(texts, made.model.starts)
    usual = Fusion(building.DENSE_WEIGHT_SPELT_OUT if strange else building.DENSE_WEIGHT)
    asked = [question for question, _ in data.questions]
    questions = made.of(asked)
    for retriever in ("dense", "bm25", "hybrid"):
        begun = time.perf_counter()
        hits = list(ranked(index, asked, questions, retriever, usual))
        spent = time.perf_counter() - begun
        name = {"dense": "dense", "bm25": f"BM25, {language}", "hybrid": "hybrid"}[retriever]
        told(f"advisor: {name}", ranks_of(hits, data, every), spent)
    named = [Question(text, str(min(right))) for text, right in data.questions]
    begun = time.perf_counter()
    ways = calibration.ways(Settings(), usual)
    table = calibration.reciprocal_ranks(index, named, questions, ways)
    parts = calibration.parts_of(len(asked), 13)
    assert parts is not None
    taken = calibration.crossed(table, ways, usual, parts)
    found = []
    for number, way in enumerate(taken):
        found += ranked(index, asked[number : number + 1], questions[[number]], "hybrid", way)
    told("advisor: hybrid, searched", ranks_of(found, data, every), time.perf_counter() - begun)
    for way in dict.fromkeys(taken):
        print(f"    {taken.count(way)} questions: {calibration.told(way)}", flush=True)


def ranks_of(hits: Sequence[Sequence[Hit]], data: Set, every: Sequence[Chunk]) -> list[int | None]:
    return [
        rank_of([hit.passage for hit in held], every, right)
        for held, (_, right) in zip(hits, data.questions, strict=True)
    ]


def peers(data: Set, every: list[Chunk], model: str, made: Vectors | None) -> None:
    from rag_peers import handed, installed

    texts = [chunk.searched for chunk in every]
    for library, make in installed():
        with warnings.catch_warnings(), handed(None if made is None else made.of):
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
    parser.add_argument("--handed", action="store_true", help="the same vectors for all")
    parser.add_argument("--keep", type=Path, help="a file to keep vectors in between runs (.npz)")
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
        made = Vectors(model, asked.keep)
        ours(data, made, every)
        if asked.peers:
            peers(data, every, folder, made if asked.handed else None)


if __name__ == "__main__":
    main()
