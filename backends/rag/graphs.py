"""OpenVINO's translation of a transformer, kept so that it is made once and not at each index.

Graphs lie in a folder of the user's, beside the cache of answers, by weights, configuration and
libraries. One that cannot be read is made anew; one that cannot be written is done without.
"""

import copy
import os
import shutil
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from backends.prompting.store import cache_file

FOLDER, FILE = "graphs", "model.xml"
LARGEST = 1_000_000_000  # bytes of weights; of a larger model no second copy is kept on disk
_MAKERS = ("openvino", "torch", "transformers")


def graph(model: torch.nn.Module, fingerprint: str) -> Any:
    """The transformer as OpenVINO's graph: inputs `input_ids` and `attention_mask`, fp32.

    Args:
        model: of transformers; gives `last_hidden_state`.
        fingerprint: of its weights.

    Raises:
        Exception: OpenVINO has no translation for the model.
    """
    import openvino  # an extra of its own, and a second to import

    place = _place(model, fingerprint)
    try:
        return openvino.Core().read_model(place / FILE)
    except Exception:  # not there, cut short, or of another format
        made = _translated(model)
    if sum(one.numel() * one.element_size() for one in model.parameters()) <= LARGEST:
        _keep(made, place)
    return made


def _translated(model: torch.nn.Module) -> Any:
    import openvino  # as above

    example = {
        "input_ids": torch.ones(2, 8, dtype=torch.long),
        "attention_mask": torch.ones(2, 8, dtype=torch.long),
    }
    with torch.no_grad():
        exact = _States(copy.deepcopy(model).float()).eval()
        return openvino.convert_model(exact, example_input=example)


def _keep(made: Any, place: Path) -> None:
    """Write the graph so that it is there whole or not at all."""
    import openvino  # as above

    beside = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        beside.mkdir(parents=True, mode=0o700, exist_ok=True)
        openvino.save_model(made, beside / FILE, compress_to_fp16=False)
        shutil.rmtree(place, ignore_errors=True)  # what could not be read
        beside.replace(place)
    except (OSError, RuntimeError):  # a full disk, or another process was sooner
        shutil.rmtree(beside, ignore_errors=True)


def _place(model: torch.nn.Module, fingerprint: str) -> Path:
    config = model.config.to_json_string()
    what = (fingerprint, config, [version(name) for name in _MAKERS])
    name = blake2b(repr(what).encode(), digest_size=16).hexdigest()
    return cache_file().with_name(FOLDER) / name


class _States(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        said = self.model(input_ids=input_ids, attention_mask=attention_mask)
        return said.last_hidden_state
