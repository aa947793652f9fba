"""What a training from a stream leaves in a checkpoint, and takes from it again."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file, save_file

WEIGHTS, OPTIMIZER, STATE = "model.safetensors", "optimizer.pt", "state.json"


class Kept(msgspec.Struct, forbid_unknown_fields=True):
    """What a checkpoint holds beside weights and optimizer."""

    step: int
    stream: dict[str, Any]
    losses: list[float]
    skipped: list[int]
    gone_back: int
    curve: list[dict[str, float]]


def write(folder: Path, learning: Mapping[str, Any], optimizer: Any, state: Kept) -> None:
    """Write the weights that learn, the optimizer, the random numbers and the rest."""
    folder.mkdir(parents=True)
    weights = {name: p.detach().cpu().contiguous() for name, p in learning.items()}
    save_file(weights, folder / WEIGHTS)
    torch.save({"optimizer": optimizer.state_dict(), "chance": _chance()}, folder / OPTIMIZER)
    (folder / STATE).write_bytes(msgspec.json.encode(state))


def read(folder: Path, learning: Mapping[str, Any], optimizer: Any, chance: bool) -> Kept:
    """Take weights and optimizer of a checkpoint, perhaps the random numbers; returns the rest."""
    held = load_file(folder / WEIGHTS)
    with torch.no_grad():
        for name, parameter in learning.items():
            parameter.copy_(held[name])
    kept = torch.load(folder / OPTIMIZER, weights_only=True)
    optimizer.load_state_dict(kept["optimizer"])
    if chance:
        _set_chance(kept["chance"])
    return msgspec.json.decode((folder / STATE).read_bytes(), type=Kept)


def _chance() -> dict[str, Any]:
    """The state of torch's random numbers, of which dropout is drawn."""
    held = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        held["cuda"] = torch.cuda.get_rng_state()
    return held


def _set_chance(held: Mapping[str, Any]) -> None:
    torch.set_rng_state(held["cpu"])
    if "cuda" in held and torch.cuda.is_available():
        torch.cuda.set_rng_state(held["cuda"])


def forget_after(log: Path, step: int) -> None:
    """Drop the lines of steps that are to be taken anew, so that a curve has each once."""
    if not log.is_file():
        return

    def kept() -> Iterator[bytes]:
        for line in log.read_bytes().splitlines(keepends=True):
            try:
                if msgspec.json.decode(line).get("step", 0) <= step:
                    yield line
            except msgspec.DecodeError:  # cut off when the process was killed
                continue

    beside = log.with_name(f".{log.name}.new")
    beside.write_bytes(b"".join(kept()))
    beside.replace(log)
