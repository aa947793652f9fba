"""`predictions.jsonl` as it is written, and what its lines add up to."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from backends.base import Metric
from backends.data import Message
from backends.prompting.answers import Outcome
from backends.prompting.items import Item
from backends.prompting.scoring import Tally
from backends.prompting.store import Store, Totals

LABELLED = "labelled.jsonl"
PERCENTILES = (50, 90, 99)


class Sheet:
    """Outcomes written, counted and scored one by one; a context manager.

    What was answered stands in `labelled.jsonl` too, as data that a later step may learn from.
    `kept` is how many answers were there before; whoever asks sets it.
    """

    def __init__(self, path: Path, tally: Tally) -> None:
        self.tally = tally
        self.kept = 0
        self._path = path
        self._counts = Counter({"items": 0, "failed": 0, "repaired": 0, "cut": 0, "dropped": 0})
        self._failures: Counter[str] = Counter()
        self._file = path.open("wb")
        self._answered = path.with_name(LABELLED).open("wb")

    def __enter__(self) -> "Sheet":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._answered.close()

    def take(self, item: Item, outcome: Outcome) -> None:
        """Write, count and score one outcome."""
        self._file.write(msgspec.json.encode(outcome) + b"\n")
        if (row := learnable(item, outcome)) is not None:
            self._answered.write(msgspec.json.encode(row) + b"\n")
        self._counts["items"] += 1
        self._counts["repaired"] += outcome.repaired
        self._counts["cut"] += outcome.cut
        self._counts["dropped"] += outcome.dropped
        if outcome.failed is not None:
            self._counts["failed"] += 1
            if len(self._failures) < 1000 or outcome.failed in self._failures:
                self._failures[outcome.failed] += 1
        self.tally.take(item, outcome)

    def flushed(self) -> Path:
        """The file, with all that has been taken in it."""
        self._file.flush()
        return self._path

    def summary(self, store: Store) -> tuple[dict[str, int], list[str]]:
        """Counts, and notes that a reader of the result should see."""
        totals = store.totals()
        counts = {
            **self._counts,
            "from_journal": self.kept,
            "requests": store.attempts,
            "from_cache": store.from_cache,
            "resent": store.interrupted,
            "input_tokens": totals.input,
            "cached_tokens": totals.cached,
            "output_tokens": totals.output,
        }
        return counts, list(self._notes(store, totals))

    def _notes(self, store: Store, totals: Totals) -> Iterator[str]:
        for reason, count in self._failures.most_common(3):
            yield f"{count:,} items count as wrong: {reason}"
        if self._counts["cut"]:
            yield f"{self._counts['cut']:,} answers were cut at max_tokens; raise it if they matter"
        if self._counts["dropped"]:
            yield f"{self._counts['dropped']:,} examples were left out to keep messages short"
        if totals.without_usage:
            yield (
                f"{totals.without_usage:,} answers came without usage and are booked at their "
                f"worst case"
            )
        if store.interrupted:
            yield interrupted(store)
        if store.unsure > 0:
            yield (
                f"up to {store.unsure:.4g} USD of the sum is for attempts whose answer never came "
                f"and that may not have been billed"
            )


def learnable(item: Item, outcome: Outcome) -> dict[str, Any] | None:
    """An item with its answer as a row of training data; None where nothing usable was said."""
    if outcome.failed is not None or outcome.value is None or outcome.cut:
        return None
    if outcome.label is not None:
        return {"text": item.text, "label": outcome.label}
    if not item.before:
        return {"prompt": item.text, "completion": outcome.value}
    turns = [*item.before, Message("user", item.text), Message("assistant", outcome.value)]
    return {"messages": turns}


def latencies(totals: Totals) -> dict[str, Metric]:
    """Percentiles of the time that an answer took [s]; batches have none."""
    count = len(totals.seconds)
    if not count or not totals.seconds[-1]:
        return {}
    return {
        f"latency_p{percent}_s": Metric(
            totals.seconds[min(count - 1, count * percent // 100)], n=count
        )
        for percent in PERCENTILES
    }


def interrupted(store: Store) -> str:
    """What happened to the requests that were in flight when an earlier process ended."""
    return (
        f"{store.interrupted:,} requests were in flight when the process ended; they are asked "
        f"again with the same idempotency keys, and booked as possibly paid twice"
    )
