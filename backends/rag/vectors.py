"""The FAISS index over a corpus's vectors: its kind chosen by size, its search depth by recall.

Every kind numbers passages 0, 1, 2... in the order of the corpus.
"""

from pathlib import Path
from typing import Any, Literal

import faiss as untyped
import msgspec
import numpy as np
import psutil
from numpy.typing import NDArray

faiss: Any = untyped  # its annotations know half of its names
Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
Kind = Literal["flat", "hnsw", "ivf-sq8", "ivf-pq"]
# Exact search of 50,000 vectors of 384 numbers takes some 3 ms a question on two cores.
FLAT_UP_TO = 50_000
HNSW_UP_TO = 200_000
MEMORY_SHARE = 0.25  # of the memory that is free, for the index
# Of exact search's ten nearest, measured on the index's own vectors: what an approximate index must
# find, and what it is made to find where it can (rounding alone may cost two in a hundred).
LEAST_RECALL, WANTED_RECALL = 0.97, 0.975
LEAST_GAIN = 0.001  # of recall, for which the search goes deeper
ASKED = 200  # vectors that the recall is measured with
NEIGHBOURS = 32  # links of a vector in HNSW
PQ_NUMBERS = 4  # numbers that one byte stands for
TRAINED_ON = 40  # vectors a list
FEWEST_TO_TRAIN = 10_000  # vectors; fewer are searched exactly at once


class Search(msgspec.Struct, frozen=True):
    """The kind of an index, and how many of exact search's ten nearest it finds."""

    kind: Kind
    recall_at_10: float = 1.0


def kind_for(passages: int, dimensions: int, free: int | None = None) -> Kind:
    """What suits so many vectors.

    Args:
        free: memory that may be used [bytes]; None looks at the machine.
    """
    free = psutil.virtual_memory().available if free is None else free
    room = free * MEMORY_SHARE
    if passages <= FLAT_UP_TO and passages * dimensions * 4 <= room:
        return "flat"
    if passages <= HNSW_UP_TO and passages * (dimensions * 4 + NEIGHBOURS * 8) <= room:
        return "hnsw"
    return "ivf-sq8" if passages * (dimensions + 8) <= room else "ivf-pq"


def built(vectors: Vectors, kind: Kind = "flat") -> Any:
    """A FAISS index over rows of unit length; inner products are cosines.

    Too few rows to train an inverted file on are kept flat.
    """
    rows, dimensions = vectors.shape
    vectors = np.ascontiguousarray(vectors)
    lists = _lists(rows)
    inner = faiss.METRIC_INNER_PRODUCT
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(dimensions, NEIGHBOURS, inner)
        index.hnsw.efConstruction = 100
    elif kind == "flat" or rows < FEWEST_TO_TRAIN:
        index = faiss.IndexFlatIP(dimensions)
    else:
        coarse = faiss.IndexFlatIP(dimensions)
        if kind == "ivf-sq8":
            index = faiss.IndexIVFScalarQuantizer(
                coarse, dimensions, lists, faiss.ScalarQuantizer.QT_8bit, inner
            )
        else:
            index = faiss.IndexIVFPQ(coarse, dimensions, lists, _parts(dimensions), 8, inner)
        # FAISS draws what it trains on from all rows itself, but only after copying them.
        drawn = np.random.default_rng(13).choice(rows, TRAINED_ON * lists, replace=False)
        index.cp.max_points_per_centroid = TRAINED_ON
        index.cp.niter = 10
        index.train(vectors[np.sort(drawn)])
    index.add(vectors)
    return _mapped(index)


def chosen(vectors: Vectors, wish: Kind | None = None) -> tuple[Any, Search]:
    """The index of the kind that was wished, or that suits; deep enough for `LEAST_RECALL`.

    An approximate index that does not reach it at any depth, and was not wished, gives way to an
    exact one where that fits into memory.
    """
    kind = wish or kind_for(*vectors.shape)
    index = built(vectors, kind)
    if is_flat(index):
        return index, Search("flat")
    recall = deepened(index, vectors)
    fits = vectors.nbytes <= psutil.virtual_memory().available * MEMORY_SHARE
    if recall < LEAST_RECALL and wish is None and fits:
        return built(vectors), Search("flat")
    return index, Search(kind, round(recall, 4))


def deepened(index: Any, vectors: Vectors) -> float:
    """Set the least search depth whose recall@10 is `WANTED_RECALL`; the recall measured.

    Or else the depth beyond which no more is found. Measured against exact search, with vectors
    of the index as questions, each one's own row left out. The depth is saved with the index.
    """
    asked = np.random.default_rng(13).choice(len(vectors), min(ASKED, len(vectors)), replace=False)
    exact = _nearest_exactly(vectors, asked)
    recall = before = 0.0
    for depth in _depths(index):
        if index.__class__.__name__.startswith("IndexHNSW"):
            index.hnsw.efSearch = depth
        else:
            index.nprobe = depth
        _, found = index.search(np.ascontiguousarray(vectors[asked]), 11)
        recall = float(
            np.mean(
                [
                    len(set(near) & set([at for at in row if at != own][:10])) / max(len(near), 1)
                    for own, near, row in zip(asked, exact, found, strict=True)
                ]
            )
        )
        if recall >= WANTED_RECALL or LEAST_RECALL <= recall < before + LEAST_GAIN:
            break
        before = recall
    return recall


def changed(index: Any, keep: Rows, added: Vectors) -> Any:
    """An index of some of the rows, in their order, and after them of new ones; nothing is trained.

    Flat and HNSW are made from their own rows; an inverted file moves its codes.
    """
    added = np.ascontiguousarray(added, dtype=np.float32)
    ivf = not is_flat(index) and hasattr(index, "invlists")
    if len(keep) == index.ntotal:
        fresh = faiss.clone_index(index)
    elif ivf:
        fresh = _compacted(index, keep)
    else:
        fresh = built(at(index, keep), "flat" if is_flat(index) else "hnsw")
        if not is_flat(index):
            fresh.hnsw.efSearch = index.hnsw.efSearch
    if len(added):
        if ivf:
            fresh.set_direct_map_type(faiss.DirectMap.NoMap)
        fresh.add(added)
    return _mapped(fresh)


def best(
    index: Any, questions: Vectors, depth: int, allowed: Rows | None = None
) -> tuple[Vectors, Rows]:
    """Cosines and positions of the nearest passages to each question, best first.

    Args:
        allowed: the positions looked at; None for all. Places that nothing fills are -1.
    """
    questions = np.ascontiguousarray(questions)
    if allowed is None:
        scores, positions = index.search(questions, min(depth, index.ntotal))
        return scores, positions
    if len(allowed) <= FLAT_UP_TO // 5:
        cosines = questions @ at(index, allowed).T
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :depth]
        return np.take_along_axis(cosines, order, axis=1), allowed[order]
    selector = faiss.IDSelectorBatch(allowed)
    options: Any
    if is_flat(index):
        options = faiss.SearchParameters(sel=selector)
    elif hasattr(index, "invlists"):
        options = faiss.SearchParametersIVF(sel=selector, nprobe=index.nprobe)
    else:
        options = faiss.SearchParametersHNSW(sel=selector, efSearch=index.hnsw.efSearch)
    scores, positions = index.search(questions, min(depth, len(allowed)), params=options)
    return scores, positions


def at(index: Any, positions: Rows) -> Vectors:
    """The vectors at positions (as far as the index keeps them: quantised ones nearly)."""
    if not len(positions):
        return np.zeros((0, index.d), dtype=np.float32)
    kept: Vectors = index.reconstruct_batch(np.ascontiguousarray(positions, dtype=np.int64))
    return kept


def is_flat(index: Any) -> bool:
    """Whether search is exact."""
    return index.__class__.__name__.startswith("IndexFlat")


def save(index: Any, path: Path) -> None:
    """Write the index in FAISS's own format."""
    faiss.write_index(index, str(path))


def load(path: Path, *, mapped: bool = True) -> Any:
    """The index in a file of FAISS's format.

    Args:
        mapped: leave the vectors on disk and let the system bring what is asked for; such an
            index cannot be changed.
    Raises:
        RuntimeError: the file is missing or no whole index.
    """
    if mapped:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    return faiss.read_index(str(path))


def _lists(rows: int) -> int:
    """Lists of an inverted file: four times the square root of the rows, each well trained."""
    return int(min(4 * rows**0.5, rows / TRAINED_ON))


def _parts(dimensions: int) -> int:
    """Bytes that product quantisation makes of a vector: a divisor of its numbers."""
    wanted = max(dimensions // PQ_NUMBERS, 1)
    return next(parts for parts in range(wanted, 0, -1) if dimensions % parts == 0)


def _depths(index: Any) -> list[int]:
    if hasattr(index, "nlist"):
        return [depth for depth in (4, 8, 16, 24, 32, 48, 64, 128, 256) if depth <= index.nlist]
    return [32, 64, 128, 256, 512]


def _mapped(index: Any) -> Any:
    """The index able to give its vectors back by position."""
    if hasattr(index, "make_direct_map"):
        index.make_direct_map()
    return index


def _nearest_exactly(vectors: Vectors, asked: Rows, block: int = 100_000) -> Rows:
    """The ten nearest rows to some rows, each one's own left out."""
    best_scores = np.full((len(asked), 10), -2, dtype=np.float32)
    best_rows = np.full((len(asked), 10), -1, dtype=np.int64)
    for first in range(0, len(vectors), block):
        scores = vectors[asked] @ vectors[first : first + block].T
        inside = (asked >= first) & (asked < first + block)
        scores[np.flatnonzero(inside), asked[inside] - first] = -2
        rows = np.broadcast_to(np.arange(first, first + scores.shape[1]), scores.shape)
        all_scores, all_rows = np.hstack([best_scores, scores]), np.hstack([best_rows, rows])
        kept = np.argpartition(-all_scores, 9, axis=1)[:, :10]
        best_scores = np.take_along_axis(all_scores, kept, axis=1)
        best_rows = np.take_along_axis(all_rows, kept, axis=1)
    return best_rows


def _compacted(index: Any, keep: Rows) -> Any:
    """An inverted file of some of its rows, numbered anew."""
    numbers = np.full(index.ntotal, -1, dtype=np.int64)
    numbers[keep] = np.arange(len(keep))
    fresh = faiss.clone_index(index)
    fresh.set_direct_map_type(faiss.DirectMap.NoMap)
    fresh.reset()
    held = index.invlists
    for number in range(index.nlist):
        size = held.list_size(number)
        if not size:
            continue
        ids = faiss.rev_swig_ptr(held.get_ids(number), size)
        codes = faiss.rev_swig_ptr(held.get_codes(number), size * held.code_size)
        new = numbers[ids]
        stay = new >= 0
        kept_ids = np.ascontiguousarray(new[stay])
        kept_codes = np.ascontiguousarray(codes.reshape(size, -1)[stay])
        if len(kept_ids):
            fresh.invlists.add_entries(
                number, len(kept_ids), faiss.swig_ptr(kept_ids), faiss.swig_ptr(kept_codes)
            )
    fresh.ntotal = len(keep)
    return fresh
