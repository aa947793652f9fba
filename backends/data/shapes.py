"""The shapes of training data: which columns make one, found by the names people use."""

from collections.abc import Iterable, Mapping

import msgspec

from backends.data import names
from backends.data.names import plain
from knowledge.errors import UserError, unknown
from knowledge.names import found


class Shape(msgspec.Struct, frozen=True):
    """A shape: the roles that columns play in it, each with its usual names.

    `needs` are the roles without which it is not this shape.
    """

    id: str
    says: str
    needs: Mapping[str, tuple[str, ...]]
    may: Mapping[str, tuple[str, ...]] = {}
    aliases: tuple[str, ...] = ()

    def columns(self, present: Iterable[str], chosen: Mapping[str, str]) -> dict[str, str] | None:
        """For each role the column that plays it; None where a needed one is missing.

        Args:
            chosen: roles whose column the user named; they are not looked for.
        """
        by_name = {plain(column): column for column in present}
        roles = {role: column for role, column in chosen.items() if role in self.roles}
        for role, usual in self.roles.items():
            if role in roles:
                continue
            taken = set(roles.values())
            free = (by_name[name] for name in usual if name in by_name)
            column = next((column for column in free if column not in taken), None)
            if column is not None:
                roles[role] = column
            elif role in self.needs:
                return None
        return roles

    @property
    def roles(self) -> dict[str, tuple[str, ...]]:
        """All roles, the needed ones first."""
        return {**self.needs, **self.may}


# In the order of detection: the more particular first.
SHAPES = {
    shape.id: shape
    for shape in (
        Shape(
            "ranking",
            "prompt,responses,ranking",
            {"prompt": names.PROMPT, "responses": names.RESPONSES, "ranking": names.RANKING},
        ),
        Shape(
            "preference",
            "prompt,chosen,rejected",
            {"chosen": names.CHOSEN, "rejected": names.REJECTED},
            {
                "prompt": (*names.PROMPT, *names.CONVERSATIONS, *names.MESSAGES),
                "input": names.INPUT,
                "system": names.SYSTEM,
            },
            ("dpo", "orpo", "reward"),
        ),
        Shape(
            "kto",
            "prompt,completion,label (true or false)",
            {"prompt": names.PROMPT, "completion": names.COMPLETION, "good": names.GOOD},
            aliases=("judged", "unpaired preference"),
        ),
        Shape(
            "messages",
            "messages (OpenAI)",
            {"messages": names.MESSAGES},
            {"system": names.SYSTEM, "tools": names.TOOLS},
            ("openai", "chat"),
        ),
        Shape(
            "conversations",
            "conversations (ShareGPT)",
            {"messages": names.CONVERSATIONS},
            {"system": names.SYSTEM, "tools": names.TOOLS},
            ("sharegpt",),
        ),
        Shape(
            "alpaca",
            "instruction,input,output (Alpaca)",
            {"instruction": names.INSTRUCTION, "output": names.OUTPUT},
            {"input": names.INPUT, "history": names.HISTORY, "system": names.SYSTEM},
            ("instruction,input,output", "instruction"),
        ),
        Shape(
            "instances",
            "instruction,instances (Self-Instruct)",
            {"instruction": names.INSTRUCTION, "instances": names.INSTANCES},
            aliases=("self-instruct",),
        ),
        Shape(
            "tagged",
            "tokens,tags",
            {"tokens": names.TOKENS, "tags": names.TAGS},
            aliases=("ner", "token classification", "bio"),
        ),
        Shape(
            "spans",
            "text,spans",
            {"text": names.TEXT, "spans": names.SPANS},
            aliases=("entities", "extraction"),
        ),
        Shape(
            "labelled",
            "text,label",
            {"text": (*names.TEXT, "question", "prompt", "input", "title"), "label": names.LABEL},
            aliases=("classification", "labeled"),
        ),
        Shape(
            "completion",
            "prompt,completion",
            {"prompt": names.PROMPT, "completion": names.COMPLETION},
            aliases=("question,answer", "qa"),
        ),
        Shape("text", "text", {"text": names.TEXT}, aliases=("corpus", "unlabelled")),
    )
}

FOREIGN = {
    "paragraphs": "that is SQuAD's nested form: save its contexts as a corpus of texts and its "
    "questions as rows of question,answer",
    "turns": "those are questions without answers: save one as 'text' in each row",
}


def shape_named(name: str) -> Shape:
    """The shape that a name means: `labelled`, `text,label`, `sharegpt`.

    Raises:
        UserError: no shape has that name.
    """
    aliases = {shape.id: (shape.says.split(" (")[0], *shape.aliases) for shape in SHAPES.values()}
    try:
        return SHAPES[found("shape of data", name, aliases)]
    except UserError as error:
        raise UserError(str(error).replace("see 'advisor catalog'", _known())) from None


def detected(
    file: str, example: Mapping[str, object], chosen: Mapping[str, str]
) -> tuple[Shape, dict[str, str]]:
    """The shape of a file and its columns by role.

    Args:
        example: for each column of the file a value that is not empty.
        chosen: columns that the user named, by role.
    Raises:
        UserError: no shape fits; the columns seen are named.
    """
    for shape in SHAPES.values():
        if not set(chosen) <= set(shape.roles):
            continue
        columns = shape.columns(example, chosen)
        if columns is not None and _fits(shape, columns, example):
            return shape, columns
    seen = ", ".join(map(repr, list(example)[:12]))
    foreign = next((says for column, says in FOREIGN.items() if column in example), None)
    raise UserError(
        f"{file}: columns {seen} make no known shape; "
        + (foreign or f"name them, as in columns: {{text: {next(iter(example), 'column')!r}}}, ")
        + ("" if foreign else f"or use one of: {_known()}")
    )


def forced(
    file: str, shape: Shape, example: Mapping[str, object], chosen: Mapping[str, str]
) -> dict[str, str]:
    """The columns by role for a shape that the user named.

    Raises:
        UserError: a role is not one of the shape, or a needed column is missing.
    """
    for role in chosen:
        if role not in shape.roles:
            raise unknown(f"column role of shape {shape.id!r}:", role, shape.roles)
    columns = shape.columns(example, chosen)
    if columns is None:
        lacking = next(role for role in shape.needs if not _one(shape, role, example, chosen))
        seen = ", ".join(map(repr, list(example)[:12]))
        raise UserError(
            f"{file}: shape {shape.id!r} needs a column for {lacking!r} and the file has {seen}; "
            f"name it, as in columns: {{{lacking}: {next(iter(example), 'column')!r}}}"
        )
    return columns


def _one(shape: Shape, role: str, example: Mapping[str, object], chosen: Mapping[str, str]) -> bool:
    return role in chosen or any(plain(column) in shape.needs[role] for column in example)


def _fits(shape: Shape, columns: Mapping[str, str], example: Mapping[str, object]) -> bool:
    """Whether the values agree with what the names suggest; only some shapes can be told so."""
    if shape.id in ("messages", "conversations"):
        return isinstance(example[columns["messages"]], list | str)
    if shape.id == "kto":
        value = example[columns["good"]]
        return isinstance(value, bool) or str(value).lower() in ("true", "false")
    return True


def _known() -> str:
    return "; ".join(shape.says for shape in SHAPES.values())
