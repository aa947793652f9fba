"""Near-copies among short records: pairs found against those with one true id.

    python benchmarks/record_duplicates.py RECORDS.csv "True Id" "Site name" Address Zip Phone

The named columns after the id make a record's text. Records are no documents: for the same thing
written differently a linker of fields (dedupe, splink) is the tool; this says how far copies go.
"""

import csv
import sys
import tempfile
from collections import defaultdict
from itertools import combinations
from pathlib import Path

from backends.curation.copies import Sketches, near_pairs
from backends.curation.sketches import Sketcher


def main() -> None:
    """Print the table."""
    path, key, *columns = sys.argv[1:]
    with Path(path).open(newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.DictReader(file))
    texts = [" ".join(row[column] or "" for column in columns) for row in rows]
    same = defaultdict(list)
    for number, row in enumerate(rows):
        same[row[key]].append(number)
    true = {pair for held in same.values() for pair in combinations(held, 2)}
    print(f"{len(rows)} records, {len(true)} pairs with one {key}\n")
    print("| words in a run | resemblance | precision | recall |\n|---|---|---|---|")
    for run in (5, 2, 1):
        for least in (0.9, 0.7, 0.5):
            with tempfile.TemporaryDirectory() as folder:
                with Sketcher(Path(folder), run) as sketcher:
                    sketcher.add(texts)
                with Sketches([Path(folder)]) as sketches:
                    found = {(pair.first, pair.second) for pair in near_pairs(sketches, least)}
            right = len(found & true)
            print(f"| {run} | {least} | {right / len(found):.3f} | {right / len(true):.3f} |")


if __name__ == "__main__":
    main()
