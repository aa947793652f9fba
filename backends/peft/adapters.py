"""Adapters as files: saved with their base named and hashed, loaded on that base and no other."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import cached_file

from backends import weights
from backends.finetune.classifiers import Classifier, Logits, abstaining, labels_of
from backends.finetune.generators import Generator
from backends.finetune.taggers import Tagger
from backends.finetune.tasks import MODELS
from backends.finetune.tuned import Base
from backends.peft import Settings, bottleneck, kinds
from backends.training import fourbit, precision, silence
from knowledge.errors import UserError

CARD = "base_model.json"


class FourBits(msgspec.Struct, frozen=True):
    """How the base was held while the adapter learnt."""

    quant_type: str
    double_quant: bool


class BaseModel(msgspec.Struct, frozen=True, omit_defaults=True):
    """The base that an adapter was trained on: as the user called it, and its weights' hash."""

    model: str
    sha256: str
    source: str = ""
    task: str = "SEQ_CLS"
    four_bits: FourBits | None = None
    dtype: str = "float32"


def save(method: str, settings: Settings) -> Callable[[Any, Base, Path], None]:
    """A function that writes a method's adapter with tokenizer, configuration and base's hash.

    PEFT's methods are written in PEFT's format; bottlenecks, which PEFT has not, in their own.
    """
    four_bits = None
    if kinds.KINDS[method].four_bits:
        four_bits = FourBits(settings.quant_type, settings.double_quant)

    def write(model: Any, base: Base, folder: Path) -> None:
        place = kinds.placed(method, settings)
        if place is None:
            model.save_pretrained(folder)
        else:
            bottleneck.save(model, place, folder, whole=sorted(base.new))
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's, which is full of gaps
        base.tokenizer.save_pretrained(folder)
        base.model.config.save_pretrained(folder)
        if base.model.can_generate():
            base.model.generation_config.save_pretrained(folder)
        dtype = str(base.model.dtype).removeprefix("torch.")
        sha256 = weights_sha256(base.source, base.name)
        about = BaseModel(base.name, sha256, base.source, base.task, four_bits, dtype)
        (folder / CARD).write_bytes(msgspec.json.format(msgspec.json.encode(about)))

    return write


def load(folder: Path) -> Classifier:
    """The classifier of an `adapter/` folder on its base.

    Raises:
        UserError: no adapter is there, the base cannot be loaded, or it is another one.
    """
    model, tokenizer = _on_base(folder)
    config = AutoConfig.from_pretrained(folder)
    return Classifier(
        Logits(model),
        tokenizer,
        labels_of(config),
        int(tokenizer.model_max_length),
        abstaining(folder),
    )


def load_generator(folder: Path) -> Generator:
    """The model that answers of an `adapter/` folder on its base; raises as `load`."""
    model, tokenizer = _on_base(folder)
    return Generator(model, tokenizer, int(tokenizer.model_max_length))


def load_tagger(folder: Path) -> Tagger:
    """The model that finds parts of texts of an `adapter/` folder on its base; raises as `load`."""
    model, tokenizer = _on_base(folder)
    config = AutoConfig.from_pretrained(folder)
    return Tagger(model, tokenizer, labels_of(config), int(tokenizer.model_max_length))


def task_of(folder: Path) -> str:
    """What the adapter in a folder is for, as PEFT calls it: `SEQ_CLS`, `CAUSAL_LM`, ..."""
    return card(folder).task


def merged(folder: Path, to: Path) -> None:
    """Write the base with the adapter of a folder merged in, as a model of transformers.

    Raises:
        UserError: the adapter is of a kind that cannot be merged.
    """
    model, tokenizer = _on_base(folder, in_four_bits=False)
    if not isinstance(model, PeftModel) or not hasattr(model.base_model, "merge_and_unload"):
        raise UserError(f"the adapter in {str(folder)!r} cannot be merged into its base")
    whole = model.merge_and_unload()
    whole.save_pretrained(to)
    tokenizer.save_pretrained(to)


def base_model(folder: Path, in_four_bits: bool = True) -> tuple[Any, BaseModel]:
    """The base that the adapter of a folder belongs on, checked by its hash, and its about.

    Raises:
        UserError: no adapter is there, the base cannot be loaded, or it is another one.
    """
    about = card(folder)
    source = about.source or str(_adapter_config(folder).get("base_model_name_or_path", ""))
    named = _adapter_config(folder).get("base_model_name_or_path")
    if named and Path(str(named)).is_dir():
        source = str(named)
    if not Path(source).is_dir():  # trained elsewhere: look the name up here
        source = weights.local(about.model)
    seen = weights_sha256(source, about.model)
    if seen != about.sha256:
        raise UserError(
            f"the adapter in {str(folder)!r} was trained on {about.model!r} with weights "
            f"{about.sha256[:12]}..., but {source!r} holds {seen[:12]}...; give the same base"
        )
    silence.quiet()
    more: dict[str, Any] = {}
    if about.four_bits is not None and in_four_bits:
        how = about.four_bits
        more["quantization_config"] = fourbit.configuration(how.quant_type, how.double_quant)
    with weights.loading(about.model):
        config = AutoConfig.from_pretrained(folder)
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        base = MODELS[about.task].from_pretrained(
            source,
            config=config,
            dtype=getattr(torch, about.dtype),
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            **more,
        )
        if base.can_generate() and (folder / "generation_config.json").is_file():
            base.generation_config = type(base.generation_config).from_pretrained(folder)
    if more:
        fourbit.mended(base)
    return base, about


def _on_base(folder: Path, in_four_bits: bool = True) -> tuple[Any, Any]:
    """The adapter's model, ready to predict, and its tokenizer."""
    base, about = base_model(folder, in_four_bits)
    with weights.loading(about.model):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        if (folder / bottleneck.CONFIG).is_file():
            bottleneck.load(base, folder)
            model: Any = base
        else:
            with kinds.without_deprecations():
                model = PeftModel.from_pretrained(base, folder)
    model.requires_grad_(False).eval()
    return (model if about.four_bits and in_four_bits else model.to(precision.device())), tokenizer


def card(folder: Path) -> BaseModel:
    """The base that the adapter of a folder belongs on.

    Raises:
        UserError: no adapter is there, or a pickled one.
    """
    peft_there = (folder / "adapter_config.json").is_file()
    if not (folder / CARD).is_file() or not (peft_there or (folder / bottleneck.CONFIG).is_file()):
        raise UserError(f"{str(folder)!r} holds no adapter; has the step finished?")
    weights.refuse_pickles(folder)
    return msgspec.json.decode((folder / CARD).read_bytes(), type=BaseModel)


def _adapter_config(folder: Path) -> Mapping[str, Any]:
    path = folder / "adapter_config.json"
    return msgspec.json.decode(path.read_bytes()) if path.is_file() else {}


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
