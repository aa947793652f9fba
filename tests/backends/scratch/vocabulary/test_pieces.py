"""Texts in pieces have the tokens of the whole; where that is not known they stay whole."""

from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from backends.scratch.vocabulary import encoded, extended, trained
from backends.scratch.vocabulary.pieces import ANYWHERE, BEFORE_SPACE, PIECE, cuts, pieces

GENERAL = files("backends.finetune").joinpath("general.txt").read_text(encoding="utf-8")
MADE = {
    kind: trained(kind, GENERAL.split("\n"), 400)
    for kind in ("bpe", "unigram", "bytes", "characters")
}
LETTERS_OF_PROSE = "ab'st1. \n\t\x1c\x85\xa0\u2003é漢.,<|endoftext|>"
LIKE_PROSE = st.text(st.sampled_from(LETTERS_OF_PROSE), max_size=60)


def whole(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True
    found: list[int] = backend.encode(text, add_special_tokens=False).ids
    backend.encode_special_tokens = False
    return found


@pytest.mark.parametrize("kind", MADE)
def test_pieces_have_the_tokens_of_the_whole(kind: str) -> None:
    tokenizer = MADE[kind]
    cut = cuts(tokenizer)
    assert cut is (ANYWHERE if kind in ("bytes", "characters") else BEFORE_SPACE)

    @settings(max_examples=150, deadline=None)
    @given(LIKE_PROSE | st.text(max_size=60), st.integers(1, 9))
    def agrees(text: str, size: int) -> None:
        found = list(pieces([text], cut, size))
        assert "".join(piece.text for piece in found) == text
        assert [piece.last for piece in found] == [False] * (len(found) - 1) + [True]
        parts = [token for piece in found for token in whole(tokenizer, piece.text)]
        assert parts == whole(tokenizer, text)

    agrees()


@pytest.mark.parametrize("kind", MADE)
def test_a_gigantic_line_is_one_document_and_is_watched(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.scratch.vocabulary.measures.BATCH", PIECE)
    tokenizer, line = MADE[kind], GENERAL.replace("\n", " ")
    line *= 1 + 3 * PIECE // len(line)
    seen: list[int] = []
    first, second = encoded(tokenizer, [line, "a b"], seen.append)
    assert first == whole(tokenizer, line)
    assert second == whole(tokenizer, "a b")
    assert len(seen) >= 3
    assert seen[-1] == len(line) + 3
    assert max(len(piece.text) for piece in pieces([line], cuts(tokenizer))) < 2 * PIECE


def other(model: object, **parts: object) -> PreTrainedTokenizerFast:
    backend = Tokenizer(model)
    for name, part in parts.items():
        setattr(backend, name, part)
    return PreTrainedTokenizerFast(tokenizer_object=backend)


LETTERS = {letter: number for number, letter in enumerate("?ab ")}


@pytest.mark.parametrize(
    "tokenizer",
    [
        extended(MADE["bytes"], ["abab abab"] * 10, 2),  # merges over the whole text
        other(models.BPE(vocab=LETTERS, merges=[], unk_token="?", fuse_unk=True)),
        other(models.BPE(vocab=LETTERS, merges=[]), normalizer=normalizers.NFC()),
        other(
            models.BPE(vocab=LETTERS, merges=[]),
            pre_tokenizer=pre_tokenizers.Split(Regex(r"\s+"), "isolated"),
        ),
        other(
            models.BPE(vocab=LETTERS, merges=[]),
            pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True),
        ),
    ],
    ids=["merges", "unknowns joined", "normalised", "other words", "space before"],
)
def test_a_tokenizer_of_which_it_is_not_known_gets_its_texts_whole(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    assert cuts(tokenizer) is None
    assert [piece.text for piece in pieces(["ab ab"], None, 2)] == ["ab ab"]


def test_a_text_without_a_space_stays_whole() -> None:
    assert [piece.text for piece in pieces(["a" * 50, "b c"], BEFORE_SPACE, 5)] == ["a" * 50, "b c"]
