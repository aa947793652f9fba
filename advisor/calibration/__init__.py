"""The user's own runs, kept in a file beside what had been predicted of them.

The file is `llm-advisor/calibration.jsonl` in the user's data folder, or the one that
ADVISOR_CALIBRATION names; `off` goes without.
"""

import os
from pathlib import Path

import msgspec

from advisor.estimates.own import Own, Run
from knowledge.errors import UserError
from knowledge.files import text_of

VARIABLE, OFF = "ADVISOR_CALIBRATION", "off"


def place() -> Path | None:
    """The file of the user's own runs, whether it is there or not; None: none are kept."""
    named = os.environ.get(VARIABLE, "").strip()
    if named:
        return None if named == OFF else Path(named).expanduser()
    base = os.environ.get("XDG_DATA_HOME", "").strip() or "~/.local/share"
    return Path(base).expanduser() / "llm-advisor" / "calibration.jsonl"


def own() -> Own | None:
    """The user's own runs; None where none are kept.

    Raises:
        UserError: the file cannot be read, or a line of it is no run.
    """
    path = place()
    if path is None or not path.is_file():
        return None
    runs = []
    for number, line in enumerate(text_of(path, "file of JSON lines").splitlines(), start=1):
        try:
            runs.append(msgspec.json.decode(line, type=Run))
        except msgspec.DecodeError as error:
            raise UserError(
                f"{str(path)!r}, line {number}: {error}; "
                "correct it, or forget all runs with: advisor calibrate --reset"
            ) from None
    return Own(_short(path), tuple(runs)) if runs else None


def _short(path: Path) -> str:
    home = str(Path.home())
    return "~" + str(path).removeprefix(home) if str(path).startswith(home + "/") else str(path)
