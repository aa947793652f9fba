"""Sequences without a grammar of their own: DNA, log lines."""

import re

BASES = re.compile(r"[ACGTUNRYKMSWBDHV]+", re.IGNORECASE)
STAMP = re.compile(
    r"""\[?(\d{4}[-/]\d\d[-/]\d\d[T\s]\d\d:\d\d:\d\d      # 2026-01-02 03:04:05
    |[A-Z][a-z]{2}\s[\s\d]\d\s\d\d:\d\d:\d\d              # Jan  2 03:04:05
    |\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d              # 02/Jan/2026:03:04:05
    |\d{6}\s\d{6}|\d{10,13}(\.\d+)?)                      # 260102 030405, seconds since 1970
    """,
    re.VERBOSE,
)


def dna_fault(text: str) -> str | None:
    """What is wrong with a DNA sequence, FASTA headers allowed; None where nothing is.

    Source: the letters of https://doi.org/10.1093/nar/13.9.3021, table 1.
    """
    lines = [line.strip() for line in text.splitlines() if not line.startswith(">")]
    letters = "".join(lines)
    if not letters:
        return "no bases"
    if BASES.fullmatch(letters):
        return None
    wrong = next(letter for letter in letters if not BASES.fullmatch(letter))
    return f"{wrong!r} is no base"


def log_fault(text: str) -> str | None:
    """What is wrong with log lines, each of which has a time; None where nothing is."""
    lines = text.splitlines()
    if not lines:
        return "no line"
    for number, line in enumerate(lines, start=1):
        if line.strip() and not STAMP.search(line):
            return f"line {number} has no time"
    return None
