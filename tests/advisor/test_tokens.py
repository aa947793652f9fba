"""Tokens: counted with a tokenizer that is on disk, else estimated with an error that is said."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from advisor import tokens
from advisor.estimates import estimate
from advisor.job import settled
from knowledge import SAMPLES, token_rates
from knowledge.errors import UserError
from knowledge.quantities import Range, exactly, loosened

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


WORK = {
    "lora": {"model": "llama-3.1-8b", "method": "lora", "gpu": "H100-SXM-80GB", "seq_len": 512},
    "hosted": {"model": "ft:gpt-4.1-mini-2025-04-14", "method": "lora"},
    "prompt": {"model": "gpt-5-mini", "method": "prompt", "tokens_out": 100, "requests": 100},
    "rag": {"model": "gpt-5-mini", "method": "rag", "corpus_tokens": None, "requests": 0},
    "serve": {"model": "llama-3.1-8b", "method": "prompt", "gpu": "L40S", "requests": 9_000_000},
}


@pytest.mark.parametrize("name", WORK)
def test_estimated_counts_widen_time_and_money_and_real_ones_do_not(name: str) -> None:
    job = settled(WORK[name])
    each = Range(0.6e6, 1e6, 1.5e6)
    guessed = tokens.Count(each, 2500, 10**6, "estimated", "prose", raw=name == "rag")
    known = replace(guessed, tokens=exactly(1e6), how="counted")
    wide, narrow = (estimate(tokens.having(job, count)) for count in (guessed, known))
    assert guessed.off == pytest.approx(1 / 0.6) and known.off == 1.0
    pairs = [(wide.money.usd, narrow.money.usd)]
    if name in ("lora", "rag"):
        assert wide.time and narrow.time
        pairs.append((wide.time.wall_hours, narrow.time.wall_hours))
    for one, other in pairs:
        assert one and other and one.mid == pytest.approx(other.mid)
        assert one.low < other.low or name == "serve"  # there is no less than one GPU
        assert one.high > other.high


def test_what_a_job_says_of_its_tokens_stays() -> None:
    job = settled({"model": "llama-3.1-8b", "method": "lora", "tokens_per_example": 100})
    guessed = tokens.Count(Range(0.5, 1, 2), 10, 100, "estimated", "prose")
    assert tokens.having(job, guessed).tokens_off is None


@given(st.floats(0.01, 1.0), st.floats(1.0, 100.0), st.floats(1.0, 50.0), st.floats(1.0, 3.0))
def test_a_loosened_range_holds_the_one_it_was(
    low: float, high: float, off: float, more: float
) -> None:
    range_ = Range(low, 1.0, high)
    wider = loosened(range_, off)
    assert wider.low <= low * (1 + 1e-9) and wider.high >= high * (1 - 1e-9)
    assert loosened(range_, off * more).high >= wider.high
    assert wider.high <= high * off * (1 + 1e-9) and wider.low >= low / off * (1 - 1e-9)
