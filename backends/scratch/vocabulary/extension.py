"""A vocabulary extended by pieces of a domain, and a model widened to know them from the start."""

import heapq
import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer

from knowledge.errors import UserError

OFTEN = 5  # times that a new piece must occur in the texts to be worth a row of the embedding
NEVER = -100.0  # log-probability of a token that unigram segmentation must not choose


class Pair(NamedTuple):
    """Two pieces that become one, and how often they stood together."""

    left: str
    right: str
    often: int


def extended(tokenizer: Any, texts: Iterable[str], count: int) -> Any:
    """The tokenizer with `count` more pieces, learned from texts; the old ids stay as they are.

    The pieces that it cuts the texts into are merged on, the most frequent pair first, as
    byte-pair encoding does (https://aclanthology.org/P16-1162). BPE gets the merges after its own,
    WordPiece the pieces, unigram the pieces with their frequency in the texts.

    Raises:
        UserError: the texts have not so many pairs that occur often, or the tokenizer is of
            another kind.
    """
    backend = tokenizer.backend_tokenizer
    described = json.loads(backend.to_str())
    kind = described["model"]["type"]
    if kind not in ("BPE", "WordPiece", "Unigram"):
        raise UserError(f"a tokenizer of the kind {kind} cannot be extended; train a new one")
    prefix = described["model"].get("continuing_subword_prefix") or ""
    known = set(tokenizer.get_vocab())
    words = _words(backend, texts)
    found = list(_pairs(words, count, prefix, known))
    if len(found) < count:
        raise UserError(
            f"the texts support {len(found):,} new pieces ({OFTEN} occurrences each), not the "
            f"{count:,} asked for; ask for {len(found)} or less, or give more text"
        )
    total = sum(len(pieces) * often for pieces, often in words.items())
    _install(described["model"], found, tokenizer, prefix, total)
    wider = deepcopy(tokenizer)
    wider._tokenizer = Tokenizer.from_str(json.dumps(described))
    return wider


def widened(model: Any, old: Any, new: Any) -> None:
    """Give a model rows for the pieces that `extended` added, each the mean of its old pieces'.

    Input and output embeddings alike, and the output's bias; rows that the model has beyond its
    tokenizer are used first. A mean starts nearer than chance does.
    Source: https://aclanthology.org/2021.emnlp-main.561 (average of the subwords).
    """
    if len(new) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(new), mean_resizing=False)
    matrices = [model.get_input_embeddings().weight]
    head = model.get_output_embeddings()
    if head is not None:
        matrices.extend(
            matrix
            for matrix in (head.weight, getattr(head, "bias", None))
            if matrix is not None and matrix is not matrices[0]
        )
    by_id = {number: piece for piece, number in new.get_vocab().items()}
    with torch.no_grad():
        for number in range(len(old), len(new)):
            pieces = _old_pieces(old, by_id[number])
            for matrix in matrices:
                matrix[number] = matrix[pieces].mean(dim=0)


def _words(backend: Any, texts: Iterable[str]) -> Counter[tuple[str, ...]]:
    """How often each word occurs, as the pieces that the tokenizer cuts it into."""
    counted: Counter[str] = Counter()
    for text in texts:
        plain = text if backend.normalizer is None else backend.normalizer.normalize_str(text)
        cut = backend.pre_tokenizer
        counted.update([plain] if cut is None else (w for w, _ in cut.pre_tokenize_str(plain)))
    words: Counter[tuple[str, ...]] = Counter()
    for word, often in counted.items():
        words[tuple(token.value for token in backend.model.tokenize(word))] += often
    return words


def _pairs(
    words: Counter[tuple[str, ...]], count: int, prefix: str, known: set[str]
) -> Iterator[Pair]:
    """The most frequent pair, joined wherever it stands, and so on; ties in the pieces' order."""
    held = [(list(pieces), often) for pieces, often in words.items() if len(pieces) > 1]
    counted: Counter[tuple[str, str]] = Counter()
    where: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for number, (pieces, often) in enumerate(held):
        for pair in itertools.pairwise(pieces):
            counted[pair] += often
            where[pair].add(number)
    queue = [(-often, pair) for pair, often in counted.items()]
    heapq.heapify(queue)
    found = 0
    while queue and found < count:
        negative, pair = heapq.heappop(queue)
        if counted[pair] != -negative:  # it has changed since, and stands in the queue again
            continue
        if -negative < OFTEN:
            return
        piece = joined(*pair, prefix)
        if piece not in known:
            found += 1
            known.add(piece)
            yield Pair(*pair, -negative)
        changed = set()
        for number in where.pop(pair):
            pieces, often = held[number]
            after = _replaced(pieces, pair, piece)
            for sign, sequence in ((-1, pieces), (1, after)):
                for near in itertools.pairwise(sequence):
                    counted[near] += sign * often
                    changed.add(near)
                    if sign > 0:
                        where[near].add(number)
            held[number] = (after, often)
        for near in changed:
            if counted[near] > 0:
                heapq.heappush(queue, (-counted[near], near))


def joined(left: str, right: str, prefix: str) -> str:
    """The piece that two pieces make, the mark of a continued word dropped between them."""
    return left + (right.removeprefix(prefix) if prefix else right)


def _replaced(pieces: list[str], pair: tuple[str, str], piece: str) -> list[str]:
    after: list[str] = []
    at = 0
    while at < len(pieces):
        if tuple(pieces[at : at + 2]) == pair:
            after.append(piece)
            at += 2
        else:
            after.append(pieces[at])
            at += 1
    return after


def _install(
    model: dict[str, Any], found: list[Pair], tokenizer: Any, prefix: str, total: int
) -> None:
    """Write the pieces into a tokenizer's description, with ids after all that it has.

    Tokens added beside the model's own move into it, or they would be numbered after it again.
    """
    first = len(tokenizer)
    pieces = [joined(pair.left, pair.right, prefix) for pair in found]
    if model["type"] == "Unigram":
        vocabulary = model["vocab"]
        for number in range(len(vocabulary), first):
            vocabulary.append([tokenizer.convert_ids_to_tokens(number), NEVER])
        vocabulary.extend(
            [piece, math.log(pair.often / total)] for piece, pair in zip(pieces, found, strict=True)
        )
        return
    model["vocab"].update(tokenizer.get_vocab())
    model["vocab"].update({piece: first + number for number, piece in enumerate(pieces)})
    if model["type"] == "BPE":
        model["merges"].extend([pair.left, pair.right] for pair in found)


def _old_pieces(old: Any, piece: str) -> list[int]:
    """The ids of a new piece as the tokenizer cut it before."""
    model = old.backend_tokenizer.model
    prefix = getattr(model, "continuing_subword_prefix", None) or ""
    if not prefix or not piece.startswith(prefix):
        return [token.id for token in model.tokenize(piece)]
    vocabulary = old.get_vocab()
    rest, ids = piece.removeprefix(prefix), []
    while rest:
        longest = next(n for n in range(len(rest), 0, -1) if prefix + rest[:n] in vocabulary)
        ids.append(vocabulary[prefix + rest[:longest]])
        rest = rest[longest:]
    return ids
