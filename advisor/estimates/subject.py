"""The architecture that a job's model means: a catalogue id, a hub id, a folder, or its keys."""

from pathlib import Path
from typing import Any

import msgspec

from knowledge import families, models
from knowledge.architecture import Architecture
from knowledge.errors import UserError


def architecture(model: str | dict[str, Any] | None) -> Architecture:
    """The architecture that a job's model means.

    Raises:
        UserError: no model, an unknown one, or a config that cannot be read.
    """
    if model is None:
        raise UserError("no model given; name one, such as llama-3.1-8b")
    if isinstance(model, dict):
        return families.architecture(model)
    path = Path(model)
    if path.suffix == ".json" or (("/" in model or model.startswith(".")) and path.is_dir()):
        return families.architecture(_config(path if path.suffix else path / "config.json"))
    try:
        return models.find(model).architecture()
    except UserError as error:
        if "/" not in model:
            raise
        raise UserError(
            f"{error}; for a model that is not there give the folder of its config.json"
        ) from None


def _config(path: Path) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(path.read_bytes())
    except OSError:
        raise UserError(f"no file {str(path)!r}; give a config.json or its folder") from None
    except msgspec.DecodeError as error:
        raise UserError(f"{str(path)!r} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{str(path)!r} holds no JSON object; a config.json does")
    return value
