"""Where long work says how far it is."""

from typing import Protocol


class Progress(Protocol):
    """Where long work reports; a bar on a terminal, nothing elsewhere."""

    def start(self, label: str, total: int, unit: str) -> None:
        """Begin a bar of `total` units, replacing the one before."""

    def advance(self, done: int, **figures: float) -> None:
        """`done` units are finished now (absolute), with figures to show beside the bar.

        `seconds_left` among them is the time to the end, as whoever works foretells it.
        """

    def note(self, text: str) -> None:
        """One line for people, kept above the bar."""


class Silence:
    """Progress for where nobody looks."""

    def start(self, label: str, total: int, unit: str) -> None:
        """Show nothing."""

    def advance(self, done: int, **figures: float) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""
