"""Models of any size, whose parameters are as many as the estimators count."""

import pytest
from transformers import AutoConfig

from backends.scratch import Settings, vocabulary
from backends.scratch.architectures import Shape, architecture, config, made, nearest, sized
from knowledge import families
from knowledge.errors import UserError

TEXTS = ["the cat sat on the mat", "a dog ran to the cat"]


@pytest.mark.parametrize("family", ["llama", "bert", "modernbert", "t5"])
def test_parameters_equal_the_estimators(family: str) -> None:
    tokenizer = vocabulary.trained("characters", TEXTS, masked=True, sentinels=4)
    settings = Settings(family=family, layers=3, width=32, heads=2)  # type: ignore[arg-type]
    model = made(settings, tokenizer, 64, seed=1)
    shape = families.architecture(model.config.to_dict())
    expected = shape.parameters()
    if shape.kind == "encoder":
        expected = shape.masked_lm_parameters()
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
@pytest.mark.parametrize("wanted", [300_000, 3_000_000, 124_000_000])
def test_the_dial_gives_the_size_asked_for(family: str, wanted: int) -> None:
    vocabulary_size = 2000 if wanted < 10**7 else 32000
    shape = nearest(family, wanted, vocabulary_size, 256)
    count = architecture(family, shape, vocabulary_size, 256).parameters()
    assert abs(count / wanted - 1) < 0.25 if wanted < 10**6 else 0.1
    assert shape.width % (2 * shape.heads) == 0


def test_a_vocabulary_too_large_for_a_size() -> None:
    with pytest.raises(UserError, match="less than a vocabulary of 32,000 needs; give"):
        nearest("llama", 100_000, 32_000, 256)


def test_sizes_are_given_or_refused() -> None:
    assert sized(Settings(layers=2, width=64), 100, 64) == Shape(2, 64, 4)
    with pytest.raises(UserError, match="no size: give preset, parameters, or layers and width"):
        sized(Settings(), 100, 64)
    with pytest.raises(UserError, match="width 60 is no even multiple of 7 heads"):
        sized(Settings(layers=2, width=60, heads=7), 100, 64)


def test_the_same_seed_makes_the_same_model() -> None:
    tokenizer = vocabulary.trained("characters", TEXTS)
    settings = Settings(layers=1, width=16)
    one, two = (made(settings, tokenizer, 16, seed=4) for _ in range(2))
    other = made(settings, tokenizer, 16, seed=5)
    first, second, third = (m.model.embed_tokens.weight for m in (one, two, other))
    assert first.equal(second)
    assert not first.equal(third)


def test_modernbert_sees_no_further_than_its_context() -> None:
    found = config("modernbert", Shape(3, 32, 2), 100, 64, 0.0)
    assert isinstance(found, type(AutoConfig.for_model("modernbert")))
    assert found.local_attention == 64
