"""Standings: each is of a model that exists, of a kind that its benchmark is for."""

from knowledge import models, standings

KINDS = {
    "MMLU": {"decoder", "encoder-decoder"},
    "HumanEval": {"decoder"},
    "GLUE": {"encoder"},
    "MTEB classification": {"encoder"},
}


def test_each_standing_is_of_a_model_of_the_right_kind_with_its_source() -> None:
    for row in standings.table().values():
        assert models.find(row.model).id == row.model
        assert models.find(row.model).kind in KINDS[row.metric]
        assert "http" in row.source


def test_larger_models_of_one_line_stand_higher() -> None:
    line = ["qwen3-0.6b", "qwen3-1.7b", "qwen3-4b", "qwen3-8b", "qwen3-14b", "qwen3-32b"]
    scores = [row.score for name in line if (row := standings.find(name, "MMLU"))]
    assert scores == sorted(scores) and len(scores) == len(line)
    assert standings.find("qwen3-8b", "GLUE") is None
