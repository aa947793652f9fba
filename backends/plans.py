"""Plans as files: YAML, safely loaded, unknown keys refused, paths made absolute."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import yaml

from backends.base import Data, Plan, Predicted, Step, load
from knowledge import methods
from knowledge.errors import UserError, unknown
from knowledge.files import write_text
from knowledge.tables import yaml_value

PATHS = ("train", "validation", "test", "corpus", "questions")


def read(path: Path) -> Plan:
    """A plan from its file, its paths absolute.

    Raises:
        UserError: unreadable, an unknown key (with the nearest known one), a wrong type, two
            steps of one name, or a reference to a step that does not come earlier.
    """
    value = yaml_value(path)
    if not isinstance(value, dict):
        raise UserError(f"{str(path)!r} holds no plan; 'advisor plan' writes one")
    _refuse_unknown_keys(value, path)
    try:
        plan = msgspec.convert(value, Plan)
    except msgspec.ValidationError as error:
        raise UserError(f"{str(path)!r}: {error}") from None
    _refuse_bad_steps(plan, path)
    return absolute(plan, path.resolve().parent)


def absolute(plan: Plan, base: Path) -> Plan:
    """The plan with every data path absolute, relative ones taken from a folder."""
    return msgspec.structs.replace(
        plan, steps=tuple(_absolute_step(step, base) for step in plan.steps)
    )


def text(plan: Plan) -> str:
    """The plan as YAML."""
    value = msgspec.to_builtins(plan)
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=96))


def work(plan: Plan) -> Plan:
    """What the plan does, without what was said about it before: budget, prices, reasons, figures.

    A run that stopped at its budget may go on with a larger one.
    """
    bare = tuple(msgspec.structs.replace(step, predicted=Predicted()) for step in plan.steps)
    return msgspec.structs.replace(
        plan, steps=bare, budget_usd=None, usd_per_hour=None, prices_as_of=None, why=()
    )


def mark(step: Step) -> str:
    """What figures foretold of a step hang on: its method and settings, as eight digits."""
    said = msgspec.json.encode([step.method, step.settings], order="sorted")
    return hashlib.sha256(said).hexdigest()[:8]


def marked(step: Step) -> Step:
    """The step, with figures that know what they were foretold of."""
    if step.predicted == Predicted():
        return step
    predicted = msgspec.structs.replace(step.predicted, mark=mark(step))
    return msgspec.structs.replace(step, predicted=predicted)


def write(plan: Plan, path: Path) -> None:
    """Write the plan as YAML."""
    write_text(path, text(plan))


def _absolute_step(step: Step, base: Path) -> Step:
    changed = {
        name: str((base / Path(value).expanduser()).resolve())
        for name in PATHS
        if (value := getattr(step.data, name)) is not None and not value.startswith("step:")
    }
    return msgspec.structs.replace(
        step,
        data=msgspec.structs.replace(step.data, **changed),
        model=_absolute_folder(step.model, base),
        index=_absolute_folder(step.index, base),
        settings=_absolute_settings(step, base),
    )


def path_settings(step: Step) -> set[str]:
    """The settings of a step, as it names them, that may hold a file or folder and are text."""
    if methods.find(step.method).backend is None:
        return set()
    backend = load(step.method)
    return {
        key
        for key, value in step.settings.items()
        if isinstance(value, str) and backend.aliases.get(key, key) in backend.paths
    }


def _absolute_settings(step: Step, base: Path) -> dict[str, Any]:
    """The settings with those absolute that name a file or folder beside the plan."""
    paths = path_settings(step)
    return {
        key: _absolute_setting(value, base) if key in paths else value
        for key, value in step.settings.items()
    }


def _absolute_setting(value: str, base: Path) -> str | None:
    file, mark, function = value.rpartition(".py:")
    if mark and ":" not in file:  # contains:REGEX is no file
        return f"{(base / Path(f'{file}.py').expanduser()).resolve()}:{function}"
    if (base / value).is_file():
        return str((base / value).resolve())
    return _absolute_folder(value, base)


def _absolute_folder(name: str | None, base: Path) -> str | None:
    """A folder beside the plan as an absolute path; hub ids and references stay."""
    if name is None or name.startswith("step:"):
        return name
    if name.startswith(("./", "../", "~")) or (base / name).is_dir():
        return str((base / Path(name).expanduser()).resolve())
    return name


def _refuse_unknown_keys(value: dict[str, Any], path: Path) -> None:
    def refuse(keys: Any, kind: type[msgspec.Struct], noun: str) -> None:
        known = [field.name for field in msgspec.structs.fields(kind)]
        for key in keys if isinstance(keys, dict) else ():
            if key not in known:
                raise unknown(f"{noun} in {path.name}:", str(key), known)

    refuse(value, Plan, "plan key")
    for step in value.get("steps") or ():
        refuse(step, Step, "step key")
        if isinstance(step, dict):
            refuse(step.get("data"), Data, "data key")


def _refuse_bad_steps(plan: Plan, path: Path) -> None:
    if not plan.steps:
        raise UserError(f"{str(path)!r} has no steps; a plan needs at least one")
    names: list[str] = []
    for step in plan.steps:
        if not step.name or not all(c.isalnum() or c in "-_" for c in step.name):
            raise UserError(
                f"{str(path)!r}: step name {step.name!r}; use letters, digits, dashes (no spaces)"
            )
        if step.name in names:
            raise UserError(f"{str(path)!r}: two steps are named {step.name!r}; names are unique")
        methods.find(step.method)
        for reference in (step.model, step.index, *(getattr(step.data, name) for name in PATHS)):
            if reference and reference.startswith("step:"):
                earlier = reference.removeprefix("step:")
                if earlier not in names:
                    raise UserError(
                        f"{str(path)!r}: step {step.name!r} uses {reference!r}, "
                        f"but no earlier step has that name"
                    )
        names.append(step.name)
