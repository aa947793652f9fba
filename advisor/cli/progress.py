"""The progress bar of long work: done, remaining time, and the figures beside it."""

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class Left(TimeRemainingColumn):
    """The time left: as whoever works foretells it, else by the pace of the last half minute."""

    def render(self, task: Task) -> Text:
        """The time left as h:mm:ss."""
        seconds = task.fields.get("left")
        if seconds is None or task.finished:
            return super().render(task)
        minutes, rest = divmod(round(seconds), 60)
        return Text(
            "{}:{:02d}:{:02d}".format(*divmod(minutes, 60), rest), style="progress.remaining"
        )


class Bar:
    """A `backends.progress.Progress` on a terminal; silent where stderr is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            Left(),
            console=console,
            disable=not console.is_terminal or console.quiet,
            transient=False,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def start(self, label: str, total: int, unit: str) -> None:
        """Begin a bar; the one before stays as it ended."""
        self._task = self._progress.add_task(f"{label}, {unit}", total=total, figures="", left=None)

    def advance(self, done: int, **figures: float) -> None:
        """Show how much is finished, and the figures beside the bar."""
        left = figures.pop("seconds_left", None)
        if self._task is not None:
            shown = "  ".join(f"{name} {value:.3g}" for name, value in figures.items())
            self._progress.update(self._task, completed=done, figures=shown, left=left)

    def note(self, text: str) -> None:
        """A line above the bar."""
        self._progress.console.print(f"  {text}", style="dim", markup=False)
