"""LoRA adapters: put on a classifier, saved with their base named and hashed, loaded again."""

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import INCLUDE_LINEAR_LAYERS_SHORTHAND
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import cached_file

from backends import weights
from backends.finetune.classifiers import Classifier, Logits, labels_of
from backends.finetune.tuned import Base
from backends.peft import Settings
from backends.training import precision, silence
from knowledge.errors import UserError

CARD = "base_model.json"


class BaseModel(msgspec.Struct, frozen=True):
    """The base that an adapter was trained on: as the user called it, and its weights' hash."""

    model: str
    sha256: str


def adapted(base: Base, settings: Settings) -> Any:
    """The base with LoRA on its matrices; its new parameters learn in full.

    Raises:
        UserError: no module has the name of a target.
    """
    targets = settings.targets
    if isinstance(targets, str) and targets != INCLUDE_LINEAR_LAYERS_SHORTHAND:
        targets = tuple(name.strip() for name in targets.split(",") if name.strip())
    config = LoraConfig(
        task_type="SEQ_CLS",
        r=settings.rank,
        lora_alpha=settings.alpha or 2 * settings.rank,
        lora_dropout=settings.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        use_rslora=settings.rslora,
        use_dora=settings.dora,
        modules_to_save=_whole_modules(base),
    )
    base.model.name_or_path = base.model.config._name_or_path = base.source
    try:
        with _without_deprecations():
            return get_peft_model(base.model, config)
    except ValueError as error:
        linear = {
            name.rpartition(".")[2]
            for name, module in base.model.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
        raise UserError(
            f"targets {settings.targets!r}: {' '.join(str(error).split())[:120]}; "
            f"{base.name!r} has {', '.join(sorted(linear))}"
        ) from error


def save(model: Any, base: Base, folder: Path) -> None:
    """Write the adapter in PEFT's format, with tokenizer, labels, and the base's hash."""
    model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    base.model.config.save_pretrained(folder)
    card = BaseModel(base.name, weights_sha256(base.source, base.name))
    (folder / CARD).write_bytes(msgspec.json.format(msgspec.json.encode(card)))


def load(folder: Path) -> Classifier:
    """The classifier of an `adapter/` folder on its base.

    Raises:
        UserError: no adapter is there, the base cannot be loaded, or it is another one.
    """
    if not (folder / "adapter_config.json").is_file() or not (folder / CARD).is_file():
        raise UserError(f"{str(folder)!r} holds no adapter; has the step finished?")
    card = msgspec.json.decode((folder / CARD).read_bytes(), type=BaseModel)
    settings = msgspec.json.decode((folder / "adapter_config.json").read_bytes())
    source = str(settings["base_model_name_or_path"])
    if not Path(source).is_dir():  # trained elsewhere: look the name up here
        source = weights.local(card.model)
    seen = weights_sha256(source, card.model)
    if seen != card.sha256:
        raise UserError(
            f"the adapter in {str(folder)!r} was trained on {card.model!r} with weights "
            f"{card.sha256[:12]}..., but {source!r} holds {seen[:12]}...; give the same base"
        )
    silence.quiet()
    with weights.loading(card.model):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        config = AutoConfig.from_pretrained(folder)
        base = AutoModelForSequenceClassification.from_pretrained(
            source, config=config, dtype=torch.float32, ignore_mismatched_sizes=True
        )
        with _without_deprecations():
            model = Logits(PeftModel.from_pretrained(base, folder))
    model.requires_grad_(False).eval().to(precision.device())
    return Classifier(model, tokenizer, labels_of(config), int(tokenizer.model_max_length))


def weights_sha256(source: str, name: str) -> str:
    """The SHA-256 of a model's safetensors file; of the hashes of all, where it is in parts.

    Raises:
        UserError: it has none.
    """
    with weights.loading(name):
        found = next(
            (
                path
                for file in ("model.safetensors", "model.safetensors.index.json")
                if (path := cached_file(source, file, _raise_exceptions_for_missing_entries=False))
            ),
            None,
        )
    parts = [] if found is None else sorted(Path(found).parent.glob("model*.safetensors"))
    if not parts:
        raise UserError(f"the model {name!r} has no safetensors weights; take one that has")
    hashes = []
    for part in parts:
        with part.open("rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


@contextmanager
def _without_deprecations() -> Iterator[None]:
    """PEFT 0.21 asks transformers 5.23 by a name that is on its way out; no user can mend it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*deprecated")
        yield


def _whole_modules(base: Base) -> list[str]:
    """The modules that learn in full: those whose parameters no one has trained yet.

    The topmost module below the encoder is named ("classifier", "pooler"), so that its name
    means the same module when PEFT looks for it.
    """
    encoder = f"{base.model.base_model_prefix}."
    return sorted({name.removeprefix(encoder).partition(".")[0] for name in base.new})
