"""Texts that are copies of each other: to the word, or nearly.

Source: https://doi.org/10.1109/SEQUEN.1997.666900 (the resemblance of shingles and its estimate).
"""

from hashlib import blake2b
from typing import Literal, NamedTuple

import numpy as np
from datasketch import MinHash, MinHashLSH

from backends.data.characters import normalised

SHINGLE = 5  # words
NEAR = 0.9  # least estimated resemblance of a near copy
PERMUTATIONS = 128
SEED = 1
SCHEME: Literal["affine32"] = "affine32"  # 32-bit values, whatever they are kept in
SHORTEST = 20  # words; shorter texts are copies only to the word


class Mark(NamedTuple):
    """What a text is compared by: a key equal for equal words, a MinHash signature for near ones.

    The signature is empty where near copies are not looked for, or the text is too short.
    """

    key: str
    signature: bytes = b""


class Copies:
    """Finds, text by text, the earlier one that each is a copy of."""

    def __init__(self, *, near: bool) -> None:
        self._keys: dict[str, str] = {}
        self._lsh = MinHashLSH(threshold=NEAR, num_perm=PERMUTATIONS) if near else None
        self._signatures: dict[str, MinHash] = {}

    def mark(self, text: str) -> Mark:
        """What a text is compared by."""
        words = normalised(text)
        key = blake2b(words.encode(), digest_size=16).hexdigest()
        return Mark(key, b"" if self._lsh is None else _signature(words.split()))

    def original(self, name: str, mark: Mark) -> str | None:
        """The name of the text that this one is a copy of; None for a new text, now known."""
        if mark.key in self._keys:
            return self._keys[mark.key]
        if self._lsh is not None and mark.signature:
            values = np.frombuffer(mark.signature, dtype=np.uint32).astype(np.uint64)
            signature = MinHash(num_perm=PERMUTATIONS, seed=SEED, hashvalues=values, scheme=SCHEME)
            alike = [
                (signature.jaccard(self._signatures[n]), n) for n in self._lsh.query(signature)
            ]
            resemblance, nearest = max(alike, default=(0.0, ""))
            if resemblance >= NEAR:
                return nearest
            self._lsh.insert(name, signature)
            self._signatures[name] = signature
        self._keys[mark.key] = name
        return None


def _signature(words: list[str]) -> bytes:
    if len(words) < SHORTEST:
        return b""
    shingles = {" ".join(words[at : at + SHINGLE]) for at in range(len(words) - SHINGLE + 1)}
    signature = MinHash(num_perm=PERMUTATIONS, seed=SEED, scheme=SCHEME)
    signature.update_batch([shingle.encode() for shingle in sorted(shingles)])
    return bytes(signature.hashvalues.astype(np.uint32).tobytes())
