"""Data as people have it: read, recognised, checked, counted and split.

Light at import (the standard library and msgspec); pyarrow comes with the first Parquet file.
"""

from backends.data.characters import normalised
from backends.data.dataset import Dataset, read, stream
from backends.data.documents import Skipped, documents
from backends.data.formats import Document
from backends.data.report import Quantiles, Report, quantiles, rendered, report
from backends.data.rows import (
    Completion,
    Judged,
    Labelled,
    Message,
    Messages,
    Preference,
    Ranking,
    Row,
    Span,
    Tagged,
    Text,
    input_text,
    spans_json,
    target_text,
)
from backends.data.splits import split

__all__ = [
    "Completion",
    "Dataset",
    "Document",
    "Judged",
    "Labelled",
    "Message",
    "Messages",
    "Preference",
    "Quantiles",
    "Ranking",
    "Report",
    "Row",
    "Skipped",
    "Span",
    "Tagged",
    "Text",
    "documents",
    "input_text",
    "normalised",
    "quantiles",
    "read",
    "rendered",
    "report",
    "spans_json",
    "split",
    "stream",
    "target_text",
]
