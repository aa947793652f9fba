"""Parquet files, a batch of rows at a time; apart, because only they need pyarrow."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from knowledge.errors import UserError

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise UserError(
        "reading Parquet needs pyarrow; install it with: pip install 'llm-advisor[run]', "
        "or save the file as JSONL or CSV"
    ) from None

BATCH = 1024


def parquet_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a Parquet file; the line of a row is its number.

    Raises:
        UserError: the file is not Parquet or is damaged.
    """
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH):
                for cells in batch.to_pylist():
                    number += 1
                    yield number, cells
    except (pa.ArrowException, OSError) as error:
        first = " ".join(str(error).split())[:120]
        raise UserError(
            f"{path.name} is not a readable Parquet file after row {number}: {first}"
        ) from None
