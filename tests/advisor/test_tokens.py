"""Tokens: counted with a tokenizer that is on disk, else estimated with an error that is said."""

from pathlib import Path

import pytest

from advisor import tokens
from advisor.job import settled
from knowledge import SAMPLES, token_rates
from knowledge.errors import UserError

PROSE = "The river is wide here and the ferry that takes you over it was built by my uncle. " * 20
GERMAN = "Der Fluss ist hier breit, und die Fähre zum anderen Ufer baute einst mein Onkel. " * 20
RUSSIAN = "Река здесь широкая, и паром на другой берег построил когда-то мой дядя. " * 20
CHINESE = "这里的河很宽，渡船是我叔叔造的，每天早上都有人坐船过河去上班。" * 20
JAPANESE = "ここの川は広くて、向こう岸へ渡る船は叔父が造りました。" * 20
PYTHON = "def area(w, h):\n    return {'w': w, 'h': h, 'a': w * h}[key]\n\nx = area(3, 4)\n" * 20
FIGURES = "2021 334 12.5 88.1\n2022 345 13.1 90.4\n" * 20


@pytest.mark.parametrize(
    ("text", "kind"),
    [(PROSE, "english"), (GERMAN, "latin"), (RUSSIAN, "cyrillic"), (CHINESE, "chinese"),
     (JAPANESE, "japanese"), (PYTHON, "code"), (FIGURES, "numbers"), ("", "english")],
)  # fmt: skip
def test_the_kind_of_a_text_is_seen(text: str, kind: str) -> None:
    assert token_rates.kind(text) == kind


def test_rates_are_ordered_and_sourced() -> None:
    for row in token_rates.table().values():
        assert 0 < row.small <= row.mid and row.low <= row.mid <= row.high and row.source


def test_an_estimate_says_how_far_it_may_be_off() -> None:
    count = tokens.of_texts([PROSE, PROSE], "llama-3.1-8b")
    assert count.how == "estimated" and "English" in count.said and "% off" in count.said
    assert count.tokens.low < 2 * len(PROSE) / 4.5 < count.tokens.high
    mixed = tokens.of_texts([PROSE, CHINESE], "llama-3.1-8b")
    assert mixed.tokens.mid > tokens.of_texts([PROSE], "llama-3.1-8b").tokens.mid + len(CHINESE) / 2


def test_a_small_vocabulary_needs_more_tokens() -> None:
    small, large = (tokens.of_texts([GERMAN], name) for name in ("llama-2-7b", "llama-3.1-8b"))
    assert small.tokens.mid > large.tokens.mid


def tokenizer(folder: Path) -> Path:
    """A tokenizer of whole words, made on the spot."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({"the": 0, "river": 1, "?": 2}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / tokens.FILE))
    return folder


def test_a_tokenizer_beside_the_model_counts(tmp_path: Path) -> None:
    count = tokens.of_texts(["the river the", "a river"], str(tokenizer(tmp_path / "model")))
    assert (count.how, count.tokens.low, count.tokens.mid, count.tokens.high) == (
        "counted", 5.0, 5.0, 5.0,
    )  # fmt: skip


def test_a_tokenizer_in_the_hub_s_cache_counts(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert tokens.tokenizer_of("llama-3.1-8b") is None
    folder = tmp_path / "hub" / "models--meta-llama--Llama-3.1-8B" / "snapshots" / "abc"
    tokenizer(folder)
    assert tokens.of_texts(["the river"], "llama-3.1-8b").tokens.mid == 2.0


def test_a_damaged_tokenizer_is_one_line(tmp_path: Path) -> None:
    (tmp_path / tokens.FILE).write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="is no tokenizer"):
        tokens.of_texts(["a"], str(tmp_path))


def test_a_file_fills_in_what_the_job_does_not_say() -> None:
    count = tokens.of_file(SAMPLES / "support" / "train.csv", "llama-3.1-8b")
    assert count.texts > 400 and not count.raw
    job = tokens.having(settled({"model": "llama-3.1-8b", "method": "lora"}), count)
    assert job.examples == count.texts and 3 < (job.tokens_per_example or 0) < 60
    said = settled({"model": "llama-3.1-8b", "method": "lora", "examples": 7})
    assert tokens.having(said, count).examples == 7
    folder = tokens.of_file(SAMPLES / "handbook", "llama-3.1-8b")
    assert folder.raw
    rag = tokens.having(settled({"model": "gpt-5-mini", "method": "rag"}), folder)
    assert rag.corpus_tokens == folder.tokens.mid
    cpt = tokens.having(settled({"model": "llama-3.1-8b", "method": "cpt"}), folder)
    assert cpt.tokens == folder.tokens.mid
