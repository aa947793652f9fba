"""The prompt that settings and data make, how it is saved, and how a saved one is loaded."""

from pathlib import Path

import msgspec

from backends.prompting import Settings, readings
from backends.prompting.answers import Recipe, room
from backends.prompting.examples import Nearest, Same, Selector, indexed, nearest, selector
from backends.prompting.items import Task
from backends.prompting.prompts import (
    ANSWER,
    CLASSIFY,
    CLASSIFY_INSTRUCTION,
    CLASSIFY_REASONING,
    Example,
    Prompt,
)
from knowledge.errors import UserError

ARTEFACT = "prompt"
LONGEST_FREE_ANSWER = 512  # tokens, where max_tokens is not set
SPARE = 16  # tokens beyond the longest label: models wrap labels in quotes and spaces
POOL = "examples.jsonl"
VECTORS = "examples.faiss"


class Saved(msgspec.Struct, frozen=True):
    """What `prompt/prompt.json` holds; the template lies beside it, to be read and edited."""

    prompt: Prompt
    settings: Settings


def prompt(model: str, settings: Settings, labels: tuple[str, ...]) -> Prompt:
    """The prompt of a step, without examples.

    Raises:
        UserError: schema or pattern are broken.
    """
    longest = max((len(label.encode()) for label in labels), default=0)
    usual = longest + SPARE if labels and not settings.reasoning else LONGEST_FREE_ANSWER
    instruction = CLASSIFY_REASONING if settings.reasoning else CLASSIFY_INSTRUCTION
    made = Prompt(
        model=model,
        template=settings.template or (CLASSIFY if labels else ANSWER),
        max_tokens=settings.max_tokens or usual,
        instruction=settings.instruction or (instruction if labels else ""),
        system=settings.system,
        labels=labels,
        definitions=settings.definitions,
        temperature=settings.temperature,
        schema=settings.schema,
        pattern=settings.pattern,
        reasoning=settings.reasoning,
        face=settings.face,
    )
    readings.check(made)
    return made


def recipe(model: str, settings: Settings, task: Task, seed: int) -> Recipe:
    """How the items of a task become requests.

    Raises:
        UserError: the template, a schema, a tokenizer or an embedder will not do.
    """
    made = prompt(model, settings, task.labels)
    labelled = bool(task.labels)
    chosen = selector(settings.choice, task.pool, settings.shots, seed, settings.embedder, labelled)
    if isinstance(chosen, Same):
        made = msgspec.structs.replace(made, examples=chosen.examples)
    return Recipe(made, chosen, room(made, settings), settings)


def save(folder: Path, made: Recipe, pool: tuple[Example, ...]) -> None:
    """Write the recipe as the step's artefact."""
    beside = folder / ARTEFACT
    beside.mkdir(parents=True, exist_ok=True)
    (beside / "template.jinja").write_text(made.prompt.template, encoding="utf-8")
    saved = Saved(made.prompt, made.settings)
    content = msgspec.json.format(msgspec.json.encode(saved), indent=2)
    (beside / "prompt.json").write_bytes(content)
    if isinstance(made.selector, Nearest):
        lines = (msgspec.json.encode(example) for example in pool)
        (beside / POOL).write_bytes(b"\n".join(lines) + b"\n")
        made.selector.save(beside / VECTORS)


def load(folder: Path) -> Recipe:
    """The recipe of a finished step.

    Raises:
        UserError: there is none in the folder.
    """
    beside = folder / ARTEFACT
    try:
        saved = msgspec.json.decode((beside / "prompt.json").read_bytes(), type=Saved)
        template = (beside / "template.jinja").read_text(encoding="utf-8")
        by_text = saved.settings.choice == "nearest" and saved.settings.shots
        lines = (beside / POOL).read_bytes().splitlines() if by_text else []
        pool = tuple(msgspec.json.decode(line, type=Example) for line in lines)
    except (OSError, msgspec.DecodeError) as error:
        raise UserError(f"{str(folder)!r} holds no usable prompt: {error}") from None
    made = msgspec.structs.replace(saved.prompt, template=template)
    chosen: Selector = Same(made.examples)
    if pool:
        vectors = indexed(beside / VECTORS, len(pool))
        chosen = nearest(pool, saved.settings.shots, saved.settings.embedder, vectors)
    return Recipe(made, chosen, room(made, saved.settings), saved.settings)
