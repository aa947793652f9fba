"""Models that people use, each with its shape, licence and source."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from knowledge import DATA
from knowledge.architecture import Architecture, Kind
from knowledge.families import architecture
from knowledge.names import found
from knowledge.tables import by_id, jsonl_rows

Use = Literal["base", "chat", "code", "reasoning", "embedding", "encoder", "seq2seq"]
Counted = Literal["causal-lm", "base", "masked-lm", "seq2seq-lm"]


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One published model; weights of other kinds but the same shape are aliases."""

    id: str
    hub: str
    """Its id on the Hugging Face hub."""
    aliases: tuple[str, ...] = ()
    family: str
    """The line it belongs to: llama, qwen, bert; its model_type is in the config."""
    kind: Kind
    use: Use
    chat_hub: str | None = None
    """Hub id of the instruction-tuned weights of this shape; None: there are none."""
    licence: str
    """Id as the hub writes it."""
    released: str
    """Year and month."""
    languages: tuple[str, ...]
    """ISO 639-1 codes it was published for; "multilingual" for many, "code" for program text."""
    context: int
    """Longest sequence it was published for [tokens]."""
    config: dict[str, Any]
    """The keys of its config.json that its shape is read from."""
    counts: Counted
    """The class whose parameters are counted: with the head of a causal, sequence-to-sequence or
    masked language model (a tied head once), or the base model with its pooler if it has one."""
    parameters_published: int | None = None
    """Exact count from a source; None: no exact one is at hand."""
    parameters_source: str | None = None
    source: str
    """Where the shape is from."""
    status: Literal["read", "remembered"]
    """Of the shape: read there, or remembered (a matching published count confirms it)."""
    checked: str
    note: str | None = None

    def architecture(self) -> Architecture:
        """Its shape."""
        return architecture(self.config)

    def parameters(self) -> int:
        """Parameters of the class named in `counts`, computed from the shape."""
        shape = self.architecture()
        return shape.masked_lm_parameters() if self.counts == "masked-lm" else shape.parameters()

    def names(self) -> tuple[str, ...]:
        """Every other name it is found by: aliases, hub ids, and hub ids without the owner."""
        hubs = [self.hub, *([self.chat_hub] if self.chat_hub else [])]
        given = [*self.aliases, *hubs]
        return tuple(dict.fromkeys([*given, *(name.partition("/")[2] or name for name in given)]))


@cache
def table() -> Mapping[str, Model]:
    """All models by id.

    Raises:
        UserError: a row is malformed or an id stands twice.
    """
    return MappingProxyType(by_id(jsonl_rows(DATA / "models.jsonl", Model), "models.jsonl"))


@cache
def _names() -> Mapping[str, tuple[str, ...]]:
    return {key: model.names() for key, model in table().items()}


@cache
def find(name: str) -> Model:
    """The model that a name means: an id, a hub id or an alias; case and dashes do not matter.

    Raises:
        UserError: nothing fits (the nearest are named), or several do (they are listed).
    """
    return table()[found("model", name, _names())]
