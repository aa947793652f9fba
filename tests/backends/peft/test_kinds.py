import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny_bert
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

from advisor.estimates import parameters
from backends import finetune, plans, runner
from backends.base import Context, Data, Plan, Step, StepResult
from backends.finetune import tuned
from backends.peft import BACKEND, Settings, adapters, bottleneck, kinds
from knowledge import families, methods
from knowledge.errors import UserError

pytestmark = pytest.mark.filterwarnings(  # plain PEFT 0.21 on transformers 5.23 warns
    "ignore:.*is_gradient_checkpointing.*deprecated:FutureWarning"
)

TEXTS = [text for text, _ in tiny_bert.rows(40, seed=9)]
OWN: dict[str, dict[str, Any]] = {
    "lora": {"rank": 4},
    "dora": {"rank": 4},
    "qlora": {"rank": 4},
    "ia3": {"epochs": 20},
    "soft-prompt": {"tokens": 4, "epochs": 20},
    "p-tuning": {"tokens": 4, "epochs": 20},
    "prefix": {"tokens": 4, "epochs": 20},
    "adapter-sequential": {"width": 8},
    "adapter-parallel": {"width": 8},
}
METHODS = list(OWN)
SOFT = ("soft-prompt", "p-tuning", "prefix")
SETTINGS = {
    "epochs": 10,
    "micro_batch": 16,
    "learning_rate": 1e-2,
    "head_learning_rate": 1e-2,
    "precision": "fp32",
    "compare": False,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("place")
    tiny_bert.model_folder(folder / "untrained")
    tiny_bert.csv_file(folder / "train.csv", tiny_bert.rows(240, seed=1))
    tiny_bert.csv_file(folder / "test.csv", tiny_bert.rows(90, seed=2))
    # Vectors before a model that never learnt anything can do nothing with it: give it a little.
    tuned_first = step(folder, "lora", epochs=15, learning_rate=3e-3)
    settings = {k: v for k, v in tuned_first.settings.items() if k != "rank"} | {"train": "all"}
    again = msgspec.structs.replace(
        tuned_first, method="head-ft", model=str(folder / "untrained"), settings=settings
    )
    (folder / "first").mkdir()
    finetune.BACKEND.run(again, Context(folder / "first"))
    AutoModel.from_pretrained(folder / "first" / "model").save_pretrained(folder / "base")
    AutoTokenizer.from_pretrained(folder / "untrained").save_pretrained(folder / "base")
    return folder


def step(place: Path, method: str, **settings: Any) -> Step:
    return Step(
        name="intents",
        method=method,
        model=str(place / "base"),
        data=Data(train=str(place / "train.csv"), test=str(place / "test.csv")),
        settings={**SETTINGS, **OWN[method], **settings},
    )


def start(place: Path) -> tuned.Base:
    torch.manual_seed(0)
    return tuned.base(str(place / "base"), "base", ["a", "b", "c"], None)


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return torch.cat([model(**tokenizer(t, return_tensors="pt")).logits for t in TEXTS])


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(next((folder / "adapter").glob("*.safetensors")))
    return found


@pytest.mark.parametrize("method", METHODS)
def test_it_learns_moves_only_its_own_and_is_saved_exactly(
    place: Path, tmp_path: Path, method: str
) -> None:
    result: StepResult = BACKEND.run(step(place, method), Context(tmp_path))
    metrics = result.metrics
    assert metrics["accuracy"].value > metrics["baseline_majority_accuracy"].value + 0.3
    classifier = adapters.load(tmp_path / "adapter")
    said = list(BACKEND.predict(tmp_path, TEXTS))
    again = list(BACKEND.predict(tmp_path, TEXTS))
    assert said == again
    assert (
        BACKEND.evaluate(tmp_path, Data(test=str(place / "test.csv")))["accuracy"]
        == (metrics["accuracy"])
    )
    if method != "qlora":  # its base is held in other numbers
        before = tiny_bert.state(AutoModel.from_pretrained(place / "base"))
        kept = {
            name.replace(".base_layer", "").partition("bert.")[2]: value
            for name, value in classifier.model.state_dict().items()
        }
        assert all(torch.equal(kept[name], value) for name, value in before.items())
    assert (tmp_path / "adapter" / "README.md").read_text().startswith("---\nbase_model: base\n")
    assert not [f for f in (tmp_path / "adapter").iterdir() if f.suffix in (".bin", ".pt")]


@pytest.mark.parametrize("method", [m for m in METHODS if m not in SOFT])
def test_it_changes_nothing_before_it_learns(place: Path, method: str) -> None:
    base = start(place)
    plain = logits(base.model, base.tokenizer)
    model = kinds.prepared(method, base, Settings())
    close = torch.allclose(logits(model, base.tokenizer), plain, atol=1e-6)
    assert close if method == "dora" else torch.equal(logits(model, base.tokenizer), plain)


@pytest.mark.parametrize("method", METHODS)
def test_what_it_adds_is_what_is_trained(place: Path, method: str) -> None:
    base = start(place)
    new = {name for name, _ in base.model.named_parameters()}
    model = kinds.prepared(method, base, Settings())
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learning
    heads = {name for name in learning if "classifier" in name}
    assert len(heads) == 2
    assert all(name not in new for name in learning - heads)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "p-tuning"])
def test_as_many_parameters_learn_as_the_estimator_says(place: Path, method: str) -> None:
    base = start(place)
    settings = msgspec.convert(
        {k: v for k, v in OWN[method].items() if k != "epochs"} | _targets(method), Settings
    )
    model = kinds.prepared(method, base, settings)
    learning = sum(
        p.numel()
        for name, p in model.named_parameters()
        if p.requires_grad and "classifier" not in name
    )
    row = methods.find(method)
    arch = families.architecture(msgspec.json.decode((place / "base/config.json").read_bytes()))
    sizes = {**parameters.model_sizes(arch), "rank": 4, "width": 8, "tokens": 4}
    assert learning == parameters.added(arch, row.added, row.targets, sizes)


def _targets(method: str) -> dict[str, Any]:
    names = "query,key,value,attention.output.dense,intermediate.dense,output.dense"
    return {"targets": names.split(",")} if method in ("lora", "dora", "qlora") else {}


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_resumes_to_the_same_bits(place: Path, tmp_path: Path, method: str) -> None:
    settings = {"epochs": 3, "save_steps": 4}
    plan = Plan("killed", (step(place, method, **settings),))
    runner.run(plan, tmp_path / "whole")
    plans.write(plan, tmp_path / "plan.yaml")
    said = _killed(tmp_path / "plan.yaml", tmp_path / "part")
    assert said == -signal.SIGKILL
    assert not (tmp_path / "part" / "step.json").exists()
    result = runner.run(plan, tmp_path / "part", resume=True)
    assert any(note.startswith("resumed from step") for note in result.steps[0].notes)
    assert tiny_bert.same(weights_of(tmp_path / "whole"), weights_of(tmp_path / "part"))


def _killed(plan: Path, out: Path) -> int:
    """Run a plan in a process of its own and kill it once its second checkpoint is there."""
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from pathlib import Path\nfrom backends import plans, runner\n"
        "runner.run(plans.read(Path(sys.argv[1])), Path(sys.argv[2]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(plan), str(out)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        if (out / "checkpoints" / "checkpoint-8" / "seal.json").is_file():
            process.kill()
        time.sleep(0.002)
    return process.wait()


def test_a_setting_of_another_method_is_refused_before_anything(place: Path) -> None:
    with pytest.raises(UserError, match="width: 9 means nothing to lora"):
        BACKEND.check(step(place, "lora", width=9), Context(place / "out"))
    with pytest.raises(UserError, match="rank: 8 means nothing to soft-prompt"):
        BACKEND.check(step(place, "soft-prompt", rank=8), Context(place / "out"))


def test_targets_and_layers_that_are_not_there_are_refused_before_anything(place: Path) -> None:
    with pytest.raises(UserError, match=r"targets 'qq': .* has classifier, dense, key"):
        BACKEND.check(step(place, "lora", targets="qq"), Context(place / "out"))
    with pytest.raises(UserError, match="layers: 5 of a model with 2 layers"):
        BACKEND.check(step(place, "adapter-parallel", layers=[5]), Context(place / "out"))
    BACKEND.check(step(place, "adapter-parallel", layers=[1]), Context(place / "out"))


def test_chosen_layers_and_places_are_kept_on_reload(place: Path, tmp_path: Path) -> None:
    settings = {"layers": [1], "after": "attention", "max_steps": 2}
    BACKEND.run(step(place, "adapter-sequential", **settings), Context(tmp_path))
    said = adapters.load(tmp_path / "adapter").model
    names = {name.rsplit(".", 2)[0] for name in bottleneck.new_parameters(said)}
    assert names == {"model.bert.encoder.layer.1.adapters.attention"}


@pytest.mark.parametrize("method", ["lora", "adapter-sequential", "prefix"])
def test_an_adapter_of_another_base_is_refused(place: Path, tmp_path: Path, method: str) -> None:
    BACKEND.run(step(place, method, max_steps=1), Context(tmp_path))
    other = tiny_bert.model_folder(tmp_path / "other", layers=3)
    for name in (adapters.CARD, "adapter_config.json"):
        path = tmp_path / "adapter" / name
        if path.is_file():
            held = msgspec.json.decode(path.read_bytes())
            key = "source" if name == adapters.CARD else "base_model_name_or_path"
            path.write_bytes(msgspec.json.encode({**held, key: str(other)}))
    with pytest.raises(UserError, match=r"was trained on .* with weights"):
        list(BACKEND.predict(tmp_path, ["a"]))


def test_merged_into_its_base_it_says_the_same(place: Path, tmp_path: Path) -> None:
    from backends.finetune import classifiers

    BACKEND.run(step(place, "lora", merge=True), Context(tmp_path))
    whole = list(classifiers.load(tmp_path / "model").predictions(TEXTS))
    for one, other in zip(whole, BACKEND.predict(tmp_path, TEXTS), strict=True):
        assert one.label == other.label
        assert one.confidence == pytest.approx(other.confidence, abs=1e-5)
