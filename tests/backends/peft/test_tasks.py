from pathlib import Path
from typing import Any

import pytest
import tiny_llama
import torch

from backends import finetune
from backends.base import Context, Data, Step
from backends.peft import BACKEND
from backends.peft.tasks import Tasks
from knowledge.errors import UserError

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing.*deprecated:FutureWarning"
)
FAST = {"micro_batch": 16, "precision": "fp32", "compare": False, "packing": False}
WORDS = list(tiny_llama.CAPITALS.values())
QUESTIONS = [f"capital of {land}" for land in tiny_llama.CAPITALS]


def data(path: Path, turn: int) -> Data:
    """A task of its own: to each question the capital that comes so many places later."""
    said = dict(zip(tiny_llama.CAPITALS, [*WORDS[turn:], *WORDS[:turn]], strict=True))
    listed = [(asked, said[asked.split()[-1]]) for asked, _ in tiny_llama.pairs(160, turn)]
    tiny_llama.jsonl_file(path, listed)
    return Data(train=str(path), test=str(path))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that knows the language, and three soft prompts and two LoRA adapters on it."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("place")
    tiny_llama.model_folder(folder / "raw")
    first = Step("first", "full-ft", str(folder / "raw"), data=data(folder / "0.jsonl", 0),
                 settings={**FAST, "epochs": 6, "learning_rate": 1e-2})  # fmt: skip
    (folder / "base").mkdir()
    finetune.BACKEND.run(first, Context(folder / "base"))
    for turn in range(3):
        made(folder, f"soft-{turn}", "soft-prompt", turn, tokens=8, learning_rate=0.3, epochs=20)
    for turn in (1, 2):
        made(folder, f"lora-{turn}", "lora", turn, rank=4, learning_rate=1e-2, epochs=8)
    made(folder, "bottleneck", "adapter-parallel", 1, width=4, max_steps=2)
    return folder


def made(folder: Path, name: str, method: str, turn: int, **settings: Any) -> None:
    base = str(folder / "base" / "model")
    step = Step(name, method, base, data=data(folder / f"{turn}.jsonl", turn),
                settings={**FAST, **settings})  # fmt: skip
    (folder / name).mkdir()
    BACKEND.run(step, Context(folder / name))


def folders(place: Path, *names: str) -> dict[str, Path]:
    return {name: place / name / "adapter" for name in names}


def test_three_soft_prompts_are_switched_on_one_copy_of_the_base(place: Path) -> None:
    served = Tasks(folders(place, "soft-0", "soft-1", "soft-2"))
    for _ in range(2):
        for turn in (2, 0, 1):
            said = [p.answer for p in served.predictions(f"soft-{turn}", QUESTIONS)]
            alone = [p.answer for p in BACKEND.predict(place / f"soft-{turn}", QUESTIONS)]
            assert said == alone
    told = [[p.answer for p in served.predictions(f"soft-{t}", QUESTIONS)] for t in range(3)]
    assert told[0] != told[1] != told[2]
    base = sum(p.numel() for n, p in served.model.named_parameters() if "prompt_encoder" not in n)
    prompts = sum(p.numel() for n, p in served.model.named_parameters() if "prompt_encoder" in n)
    alone = Tasks(folders(place, "soft-0"))
    only = sum(p.numel() for n, p in alone.model.named_parameters() if "prompt_encoder" not in n)
    assert base == only
    assert prompts == 3 * 8 * 32


def test_lora_adapters_are_switched_and_stacked(place: Path) -> None:
    served = Tasks(folders(place, "lora-1", "lora-2"))
    for name in ("lora-2", "lora-1"):
        said = [p.answer for p in served.predictions(name, QUESTIONS)]
        assert said == [p.answer for p in BACKEND.predict(place / name, QUESTIONS)]
    inputs = {"input_ids": torch.tensor([[10, 7, 12]])}
    served.model.set_adapter("lora-1")
    with torch.no_grad():
        one = served.model(**inputs).logits
        with served.stacked({"lora-1": 1.0, "lora-2": 0.0}) as model:
            torch.testing.assert_close(model(**inputs).logits, one, atol=1e-4, rtol=1e-4)
        with served.stacked({"lora-1": 1.0, "lora-2": 1.0}) as model:
            assert not torch.allclose(model(**inputs).logits, one, atol=1e-2)
        torch.testing.assert_close(served.model(**inputs).logits, one)


def test_tasks_that_cannot_be_served_together_are_refused(place: Path) -> None:
    with pytest.raises(UserError, match="no adapters to serve"):
        Tasks({})
    with pytest.raises(UserError, match="is a bottleneck, which cannot be switched"):
        Tasks(folders(place, "soft-0", "bottleneck"))
    served = Tasks(folders(place, "soft-0"))
    with pytest.raises(UserError, match="no task 'soft-9'"):
        list(served.predictions("soft-9", ["a"]))
    with pytest.raises(UserError, match="cannot be added"), served.stacked({"soft-0": 1.0}):
        pass
