"""Batches of equal length side by side: the vectors of sentence-transformers, in the same order."""

from pathlib import Path

import numpy as np
import pytest
import torch

from backends.rag import batches, embedder, engines

TEXTS = ["the key " * (n % 13 + 1) + "- " * (n % 5) + f"room {n}" for n in range(70)]


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.allclose(one, other, atol=1e-5))


@pytest.mark.parametrize(("callers", "together"), [(1, 1024), (3, 20)])
@pytest.mark.parametrize("prompts", [{}, {"query": "who ", "passage": "by the "}, {"mine": "of "}])
def test_vectors_are_those_of_sentence_transformers(
    tiny: str,
    monkeypatch: pytest.MonkeyPatch,
    callers: int,
    together: int,
    prompts: dict[str, str],
) -> None:
    monkeypatch.setattr(batches, "TOGETHER", together)
    model = embedder.load(tiny).model
    model.prompts = prompts
    model.default_prompt_name = "mine" if "mine" in prompts else None
    for task, plain in (("document", model.encode_document), ("query", model.encode_query)):
        made = batches.encoded(model, task, TEXTS, 32, callers)
        assert made is not None and same(made, plain(TEXTS, show_progress_bar=False))


def test_batches_are_small_and_hardly_padded(tiny: str) -> None:
    model = embedder.load(tiny).model
    shapes: list[torch.Size] = []
    model[0].register_forward_pre_hook(lambda _, given: shapes.append(given[0]["input_ids"].shape))
    batches.encoded(model, "document", TEXTS, 32, 1)
    assert all(shape[0] <= batches.SIZE for shape in shapes)
    longest = max(shape[1] for shape in shapes)
    # Of the set's longest text there is no more to take than it has.
    assert all(shape[1] % batches.STEP == 0 or shape[1] == longest for shape in shapes)
    lengths = [len(ids) for ids in model.tokenizer(TEXTS)["input_ids"]]
    assert sum(shape.numel() for shape in shapes) <= sum(lengths) + batches.STEP * len(TEXTS)


def test_a_model_that_fills_up_on_the_left_is_left_to_sentence_transformers(tiny: str) -> None:
    model = embedder.load(tiny).model
    model.tokenizer.padding_side = "left"
    assert batches.encoded(model, "document", TEXTS, 32, 1) is None


def test_openvino_computes_several_batches_at_a_time(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    model = embedder.load(tiny)
    exact = model.passages(TEXTS)
    model.settle("fp32", TEXTS, "openvino")
    assert isinstance(model.model[0].model, engines.Compiled)
    assert model.model[0].model.callers > 1
    assert np.allclose(model.passages(TEXTS), exact, atol=1e-4)
    assert np.allclose(model.questions(TEXTS[:3]), exact[:3], atol=1e-4)
