"""What is known: types, loader, and the data itself, each number with a source and a date.

Every table module has the same two functions: `table()`, all rows by id, read once; and
`find(name)`, one row by a forgiving name. Nothing here imports `backends` or `advisor`.
"""

from pathlib import Path

# Not importlib.resources: it would cost every command 15 ms, and pip always unpacks packages.
DATA = Path(__file__).parent / "data"
SAMPLES = Path(__file__).parent / "samples"
