"""The plan, its result, and the face that every backend shows.

A backend's `__init__.py` is light: it holds a settings record and `BACKEND`, a `Backend` that
names the module behind it. That module imports torch at its top like any other, and is imported
only when one of the four calls of the face is made.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from backends.progress import Progress, Silence
from knowledge import methods
from knowledge.errors import UserError, unknown
from knowledge.quantities import Range


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a step's data lies; paths are relative to the plan's folder or absolute.

    `group` is a column whose equal values (a customer, a document) stay on one side of a split.
    """

    train: str | None = None
    validation: str | None = None
    test: str | None = None
    corpus: str | None = None
    questions: str | None = None
    shape: str | None = None
    columns: dict[str, str] | None = None
    group: str | None = None


class Predicted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the advisor expects of a step; None is unknown.

    `memory_gib` is the whole card's, or the process's; `allocated_gib` what torch allocates of it.
    `device` is the GPU's id in the catalogue, or cpu. `memory_times` and `seconds_times` are what
    runs of the user's own multiplied the formulas' figures with. `mark` is that of the step they
    were made for (`backends.plans.mark`): edited since, they are another step's.
    """

    memory_gib: Range | None = None
    allocated_gib: Range | None = None
    seconds: Range | None = None
    device: str | None = None
    memory_times: float = 1.0
    seconds_times: float = 1.0
    usd: Range | None = None
    quality: Range | None = None
    quality_metric: str | None = None
    mark: str | None = None


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One job of a plan.

    `model` is a catalogue id, a hub id, a folder, or `step:<name>` for what an earlier step made;
    `index` is likewise `step:<name>` or a folder. `settings` are the fields of the backend's
    settings record.
    """

    name: str
    method: str
    model: str | None = None
    index: str | None = None
    data: Data = Data()
    settings: dict[str, Any] = {}
    predicted: Predicted = Predicted()


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A complete, editable, replayable job: steps in order, a seed, a budget."""

    name: str
    steps: tuple[Step, ...]
    seed: int = 13
    budget_usd: float | None = None
    usd_per_hour: float | None = None
    prices_as_of: str | None = None
    why: tuple[str, ...] = ()


class Metric(msgspec.Struct, frozen=True, omit_defaults=True):
    """A measured figure with its 95 % interval (None where it has none) and the items counted."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


class StepResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one step did.

    `metrics` are named by field terms (`accuracy`, `macro_f1`, `recall@5`); `artefact` is a path
    inside the step's folder; `seconds` counts the step's own work over all its resumed parts.
    """

    name: str
    method: str
    metrics: dict[str, Metric]
    seconds: float
    peak_memory_bytes: int | None = None
    memory_metric: str | None = None
    usd: float | None = None
    artefact: str | None = None
    counts: dict[str, int] = {}
    settings: dict[str, Any] = {}
    notes: tuple[str, ...] = ()


class RunResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run did, step by step, beside what was predicted."""

    plan: str
    status: str
    steps: tuple[StepResult, ...]
    seconds: float
    usd: float | None
    predicted_vs_measured: tuple[dict[str, Any], ...]
    environment: dict[str, str]
    started: str
    finished: str


class Pace(NamedTuple):
    """How a tuning step goes over its rows: how often, and rows of a micro-batch."""

    epochs: float
    micro_batch: int


class Prediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a finished run says to one text: a label, or an answer with its citations."""

    text: str
    label: str | None = None
    confidence: float | None = None
    answer: str | None = None
    abstained: bool = False
    citations: tuple[dict[str, Any], ...] = ()


class Turn(msgspec.Struct, frozen=True):
    """One message of a conversation that a served run is asked with."""

    role: str
    content: str


class Service(Protocol):
    """A finished run, loaded once and asked many times; an async context manager.

    A backend offers one by a function `service(folder, **options)` in its module; without it,
    `predict` is called for what has come together (`backends.serve`).
    """

    async def __aenter__(self) -> "Service":
        """Load, connect."""

    async def __aexit__(self, *_: object) -> None:
        """Let go."""

    async def answer(self, turns: tuple[Turn, ...]) -> Prediction:
        """What the run says to a conversation whose last turn is the user's.

        Raises:
            UserError: it cannot say anything.
        """

    def stream(self, turns: tuple[Turn, ...]) -> AsyncIterator[str]:
        """The same as text, piece by piece as it comes."""


class Interrupted(Exception):  # noqa: N818 (it is no error: the user asked for it)
    """The user stopped the run; what was done is saved. The text says how far it got."""


class Context(msgspec.Struct, frozen=True):
    """What a step may use while it runs.

    `folder` is the step's own; `artefacts` the folders of earlier steps by name; `should_stop`
    turns true when the user asks to stop (the step saves and raises `Interrupted`); `budget_usd`
    is what the whole run may still spend, None for no limit.
    """

    folder: Path
    seed: int = 13
    resume: bool = False
    artefacts: Mapping[str, Path] = {}
    progress: Progress = Silence()
    should_stop: Any = None
    budget_usd: float | None = None
    usd_per_hour: float | None = None

    def log(self, **figures: Any) -> None:
        """Append one line to the step's `metrics.jsonl`."""
        with (self.folder / "metrics.jsonl").open("ab") as lines:
            lines.write(msgspec.json.encode(figures) + b"\n")

    def check_stop(self, at: str) -> None:
        """Raise `Interrupted` if the user asked to stop; call it where state is saved."""
        if self.should_stop is not None and self.should_stop():
            raise Interrupted(at)


class Backend(msgspec.Struct, frozen=True):
    """The face of a backend.

    The module it names has functions `check(step, settings, context)`, `run(step, settings,
    context) -> StepResult`, `predict(folder, texts, **options) -> Iterator[Prediction]` and
    `evaluate(folder, data, **options) -> dict[str, Metric]`, and may have
    `service(folder, **options) -> Service`; one that tunes has `pace(step, settings, row, count)
    -> Pace`. `paths` are settings that may name a folder or FILE.py:FUNCTION beside the plan.
    """

    name: str
    module: str
    settings: type[msgspec.Struct]
    aliases: Mapping[str, str] = {}
    paths: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    extra: str = "run"

    def settled(self, step: Step) -> Any:
        """The step's settings as the backend's record; aliases of other trainers are known keys.

        Raises:
            UserError: an unknown key (with the nearest known one) or a value out of range.
        """
        fields = {field.name for field in msgspec.structs.fields(self.settings)}
        plain: dict[str, Any] = {}
        for key, value in step.settings.items():
            name = self.aliases.get(key, key)
            if name not in fields:
                raise unknown(f"setting in step {step.name!r}:", key, fields | set(self.aliases))
            if name in plain:
                raise UserError(f"step {step.name!r}: {key!r} repeats {name!r}; keep one")
            plain[name] = value
        try:
            return msgspec.convert(plain, self.settings)
        except msgspec.ValidationError as error:
            raise UserError(f"step {step.name!r}, settings: {error}") from None

    def require(self) -> None:
        """Raise `UserError` when the extra that the backend needs is not installed."""
        missing = [name for name in self.needs if find_spec(name) is None]
        if missing:
            raise UserError(
                f"the {self.name} backend needs {', '.join(missing)}; "
                f"install it with: pip install 'llm-advisor[{self.extra}]'"
            )

    def check(self, step: Step, context: Context) -> None:
        """Look at data and settings before anything is written or spent."""
        settings = self.settled(step)
        self.require()
        import_module(self.module).check(step, settings, context)

    def run(self, step: Step, context: Context) -> StepResult:
        """Do the step's work in the context's folder."""
        self.require()
        result: StepResult = import_module(self.module).run(step, self.settled(step), context)
        return result

    def pace(self, step: Step, row: Any, count: int) -> Pace:
        """How a tuning step goes over so many rows (of `backends.data`) such as this one."""
        self.require()
        found: Pace = import_module(self.module).pace(step, self.settled(step), row, count)
        return found

    def predict(self, folder: Path, texts: Iterable[str], **options: Any) -> Iterator[Prediction]:
        """What the artefact in a finished step's folder says to each text, in order."""
        self.require()
        answers: Iterator[Prediction] = import_module(self.module).predict(folder, texts, **options)
        return answers

    def evaluate(self, folder: Path, data: Data, **options: Any) -> dict[str, Metric]:
        """The metrics of a finished step's artefact on other data."""
        self.require()
        metrics: dict[str, Metric] = import_module(self.module).evaluate(folder, data, **options)
        return metrics

    def service(self, folder: Path, **options: Any) -> Service | None:
        """A finished step's artefact ready to be asked many times; None where `predict` is all."""
        self.require()
        make = getattr(import_module(self.module), "service", None)
        made: Service | None = None if make is None else make(folder, **options)
        return made

    def update(self, folder: Path, **options: Any) -> Any:
        """Bring a finished step's artefact up to date with its sources; what was done.

        Raises:
            UserError: this backend makes nothing that can be updated, or bad input.
        """
        self.require()
        behind = import_module(self.module)
        if not hasattr(behind, "update"):
            raise UserError(
                f"what the {self.name} backend makes is not updated in place: run the plan again"
            )
        return behind.update(folder, **options)


def load(method: str) -> Backend:
    """The backend that executes a method.

    Raises:
        UserError: the method is unknown, or nothing here executes it yet.
    """
    row = methods.find(method)
    if row.backend is None:
        runnable = sorted(other.id for other in methods.table().values() if other.backend)
        raise UserError(
            f"no backend runs {row.id!r} yet: it is estimated and advised only; "
            f"runnable now: {', '.join(runnable)}"
        )
    backend: Backend = import_module(f"backends.{row.backend}").BACKEND
    return backend
