"""The embedder: unit vectors, offsets of tokens, precision, and what cannot be used."""

import json
from pathlib import Path

import numpy as np
import pytest

from backends.rag import embedder, engines
from backends.rag.embedder import Embedder
from backends.training import precision
from knowledge.errors import UserError

TEXTS = [f"the key of room {n} is lost, pay for it within one month" for n in range(120)]


def test_vectors_have_unit_length_and_follow_the_order_of_the_texts(tiny: str) -> None:
    model = embedder.load(tiny)
    texts = ["a key", "take leave before the month is out", "room"]
    vectors = model.passages(texts)
    assert vectors.dtype == np.float32 and vectors.shape == (3, model.dimensions)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    for text, vector in zip(texts, vectors, strict=True):
        assert np.allclose(model.passages([text])[0], vector, atol=1e-5)
    assert model.passages([]).shape == (0, model.dimensions)


def test_tokens_begin_where_the_text_says_and_long_texts_are_not_cut(tiny: str) -> None:
    model = embedder.load(tiny)
    assert model.starts(["The key, lost", ""]) == [[0, 4, 7, 9], []]
    assert len(model.starts(["key " * 500])[0]) == 500
    assert model.window == 62


def test_the_fingerprint_is_that_of_the_weights(tiny: str, other_tiny: str) -> None:
    one, same, other = (embedder.load(path).fingerprint for path in (tiny, tiny, other_tiny))
    assert one == same != other


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_takes_bf16_where_the_processor_has_it_and_vectors_agree(
    tiny: str, monkeypatch: pytest.MonkeyPatch, has_bf16: bool, expected: str
) -> None:
    monkeypatch.setattr(precision, "bf16", lambda wish: has_bf16)
    model = embedder.load(tiny)
    exact = model.passages(TEXTS)
    assert model.settle("auto", TEXTS) is None and model.precision == expected
    assert (exact * model.passages(TEXTS)).sum(axis=1).min() >= embedder.AGREEMENT


def test_auto_stays_exact_where_bf16_disagrees(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "bf16", lambda wish: True)
    monkeypatch.setattr(embedder, "AGREEMENT", 1.1)
    model = embedder.load(tiny)
    exact = model.passages(TEXTS)
    note = model.settle("auto", TEXTS)
    assert note is not None and "cosine" in note and model.precision == "fp32"
    assert np.array_equal(exact, model.passages(TEXTS))


def test_what_is_fastest_is_found_once_and_remembered(
    tiny: str, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "bf16", lambda wish: True)
    first = embedder.load(tiny)
    first.settle("auto", TEXTS)
    (kept,) = json.loads((own_cache / "engines.json").read_text()).values()
    assert kept["precision"] == "bf16" and kept["cosine"] >= embedder.AGREEMENT
    assert kept["recall_lost"] <= embedder.RECALL_LOST

    def never(*_: object) -> None:
        raise AssertionError("tried again")

    monkeypatch.setattr(Embedder, "_fastest", never)
    second = embedder.load(tiny)
    second.settle("auto", TEXTS)
    assert (second.engine, second.precision) == ("torch", "bf16")
    assert np.array_equal(first.passages(TEXTS), second.passages(TEXTS))
    # What no longer works is done without, and said.
    monkeypatch.setattr(engines, "made", never)
    third = embedder.load(tiny)
    assert third.settle("auto", TEXTS) == "embedded without torch: tried again"
    assert third.precision == "fp32"
    (own_cache / "engines.json").write_text("{")
    with pytest.raises(AssertionError, match="tried again"):
        embedder.load(tiny).settle("auto", TEXTS)


def test_an_engine_that_finds_less_is_refused(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "bf16", lambda wish: True)
    recalls = iter([1.0, 0.9])
    plain = engines.looked_up
    monkeypatch.setattr(
        engines, "looked_up", lambda *given: plain(*given)._replace(recall=next(recalls))
    )
    model = embedder.load(tiny)
    note = model.settle("auto", TEXTS)
    assert note is not None and "recall@10 falls by 0.100" in note and model.precision == "fp32"


def test_a_few_texts_are_not_worth_the_check(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "bf16", lambda wish: True)
    model = embedder.load(tiny)
    model.settle("auto", TEXTS[:10])
    assert model.precision == "fp32"
    model.settle("bf16", TEXTS[:10])
    assert model.precision == "bf16"


def test_query_and_passage_prompts_are_the_models_own(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = embedder.load(tiny)
    plain = model.passages(["key lost"])
    model.model.prompts = {"query": "who ", "document": "the "}
    prompted = Embedder("tiny", model.model, 32)
    assert prompted.window == model.window - 1
    assert np.allclose(prompted.passages(["key lost"]), _bare(model, "the key lost"), atol=1e-5)
    assert np.allclose(prompted.questions(["key lost"]), _bare(model, "who key lost"), atol=1e-5)
    assert not np.allclose(prompted.passages(["key lost"]), plain, atol=1e-3)


def _bare(model: Embedder, text: str) -> np.ndarray:
    vector = model.model.encode([text], prompt="", show_progress_bar=False)
    return vector / np.linalg.norm(vector)


def test_a_folder_without_weights_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="cannot load the model") as caught:
        embedder.load(str(tmp_path))
    assert "\n" not in str(caught.value)
