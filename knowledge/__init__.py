"""What is known: types, loader, and the data itself, each number with a source and a date.

Every table module has the same two functions: `table()`, all rows by id, read once; and
`find(name)`, one row by a forgiving name. Nothing here imports `backends` or `advisor`.
"""

from importlib.resources import files
from pathlib import Path

DATA = Path(str(files("knowledge"))) / "data"
SAMPLES = Path(str(files("knowledge"))) / "samples"
