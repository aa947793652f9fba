"""Bottleneck adapters for any transformers encoder or decoder: small modules inside its blocks.

`insert(model, Bottleneck(...))` puts them in place by hooks, so the names of the base's weights
stay as they are; nothing is moved, so a model on the meta device or of fake tensors will do. The
module imports torch and nothing else that is heavy.

Shapes: B rows of a batch, T tokens, H hidden, W width of the bottleneck.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import torch
from msgspec import Meta
from safetensors.torch import load_file, save_file

from knowledge.errors import UserError

CONFIG = "bottleneck_config.json"
WEIGHTS = "bottleneck.safetensors"
ROOM = "adapters"  # the name of a block's submodule that holds its adapters
FEED_FORWARDS = ("mlp", "feed_forward", "ffn", "block_sparse_moe", "moe")
ACTIVATIONS: Mapping[str, type[torch.nn.Module]] = {
    "relu": torch.nn.ReLU,
    "gelu": torch.nn.GELU,
    "silu": torch.nn.SiLU,
}


class Bottleneck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where adapters stand and how wide they are.

    `sequential` reads what a sublayer puts out, before the residual is added
    (https://arxiv.org/abs/1902.00751); `parallel` reads what the sublayer takes in
    (https://arxiv.org/abs/2110.04366). Both add to the sublayer's output.
    """

    form: Literal["sequential", "parallel"] = "sequential"
    width: Annotated[int, Meta(ge=1)] = 64
    after: Literal["attention", "feed-forward", "both"] = "both"
    layers: tuple[Annotated[int, Meta(ge=0)], ...] | None = None
    activation: Literal["relu", "gelu", "silu"] = "relu"
    scale: Annotated[float, Meta(gt=0)] = 1.0
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0


class Sublayer(NamedTuple):
    """Attention or feed-forward of a block: the modules where it begins and ends (perhaps one)."""

    begin: torch.nn.Module
    end: torch.nn.Module
    hidden: int


class Adapter(torch.nn.Module):
    """`scale * up(activation(down(x)))` beside or after a sublayer; zero until it has learnt."""

    def __init__(
        self, hidden: int, settings: Bottleneck, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.scale = settings.scale
        self.down = torch.nn.Linear(hidden, settings.width, device=device, dtype=dtype)
        self.activation = ACTIVATIONS[settings.activation]()
        self.dropout = torch.nn.Dropout(settings.dropout)
        self.up = torch.nn.Linear(settings.width, hidden, device=device, dtype=dtype)
        torch.nn.init.zeros_(self.down.bias)
        torch.nn.init.zeros_(self.up.weight)
        torch.nn.init.zeros_(self.up.bias)
        self._taken_in: torch.Tensor | None = None

    def forward(self, x_BTH: torch.Tensor) -> torch.Tensor:
        inside_BTW = self.activation(self.down(self.dropout(x_BTH.to(self.down.weight.dtype))))
        return (self.scale * self.up(inside_BTW)).to(x_BTH.dtype)

    def note(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep what the sublayer takes in until it ends (a hook before its first module)."""
        self._taken_in = _first(args, kwargs)

    def beside(self, module: Any, args: Any, kwargs: dict[str, Any], out: Any) -> Any:
        """Add what is made of the sublayer's input (a hook after its last module)."""
        taken_in, self._taken_in = self._taken_in, None
        return _plus(out, self(_first(args, kwargs) if taken_in is None else taken_in))

    def behind(self, module: Any, args: Any, kwargs: dict[str, Any], out: Any) -> Any:
        """Add what is made of the sublayer's output (a hook after its last module)."""
        return _plus(out, self(out[0] if isinstance(out, tuple) else out))


def insert(
    model: torch.nn.Module, settings: Bottleneck, dtype: torch.dtype = torch.float32
) -> dict[str, torch.nn.Parameter]:
    """Freeze a transformers model and put adapters into its blocks; returns the new parameters.

    The model says what it said before, bit by bit, until the adapters learn. Each adapter is
    made where its sublayer's weights lie (meta and fake devices too: nothing is copied).

    Args:
        model: an encoder, a decoder or both, with or without a head; freed again by the caller
            are parameters outside the adapters that are to learn as well.
        dtype: of the adapters' weights.
    Raises:
        UserError: it has adapters already, no blocks are found in it, or `layers` names one
            that it lacks.
    """
    found = blocks(model)
    if any(hasattr(block, ROOM) for block, _ in found):
        raise UserError(f"the {type(model).__name__} has bottleneck adapters already")
    chosen = range(len(found)) if settings.layers is None else settings.layers
    beyond = [number for number in chosen if number >= len(found)]
    if beyond:
        raise UserError(
            f"layers: {beyond[0]} of a model with {len(found)} layers; "
            f"they are numbered from 0 to {len(found) - 1}"
        )
    model.requires_grad_(False)
    for number in chosen:
        block, sublayers = found[number]
        room = torch.nn.ModuleDict()
        for kind, sublayer in sublayers.items():
            if settings.after in (kind.replace("_", "-"), "both"):
                room[kind] = _adapter(sublayer, settings, dtype)
        block.add_module(ROOM, room)
    return new_parameters(model)


def new_parameters(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """The parameters of all adapters of a model by their names in it."""
    return {name: p for name, p in model.named_parameters() if f".{ROOM}." in f".{name}"}


def save(model: torch.nn.Module, settings: Bottleneck, folder: Path, whole: Sequence[str]) -> None:
    """Write a model's adapters, exactly: their settings as JSON, their weights as safetensors.

    Args:
        whole: names of further parameters (a head) that learnt and are written with them.
    """
    (folder / CONFIG).write_bytes(msgspec.json.format(msgspec.json.encode(settings)))
    kept = {*new_parameters(model), *whole}
    state = {
        name: p.detach().cpu().contiguous() for name, p in model.named_parameters() if name in kept
    }
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})


def load(model: torch.nn.Module, folder: Path) -> Bottleneck:
    """Put the adapters that `save` wrote on their base model, which is frozen; their settings.

    Raises:
        UserError: the folder holds none, or they do not belong on such a model.
    """
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise UserError(f"{str(folder)!r} holds no bottleneck adapters; has the step finished?")
    settings = msgspec.json.decode((folder / CONFIG).read_bytes(), type=Bottleneck)
    state = load_file(folder / WEIGHTS)
    dtypes = {value.dtype for name, value in state.items() if f".{ROOM}." in f".{name}"}
    new = insert(model, settings, dtypes.pop() if len(dtypes) == 1 else torch.float32)
    there = dict(model.named_parameters())
    strange = [*(state.keys() - there.keys()), *(new.keys() - state.keys())]
    strange += [n for n in state if n in there and there[n].shape != state[n].shape]
    if strange:
        raise UserError(
            f"the adapters in {str(folder)!r} do not fit a {type(model).__name__} "
            f"({len(strange)} parameters differ, such as {strange[0]}); give the base they "
            "were trained on"
        )
    with torch.no_grad():
        for name, value in state.items():
            there[name].copy_(value)
    return settings


def blocks(model: torch.nn.Module) -> list[tuple[torch.nn.Module, dict[str, Sublayer]]]:
    """The blocks of a model, first to last, each with its `attention` and `feed_forward`.

    A block is the innermost element of a list of modules that holds both; in a model of two
    halves the encoder's come first. Attention over another half's states is left alone.

    Raises:
        UserError: there is none.
    """
    hidden = getattr(getattr(model, "config", None), "hidden_size", None)
    found = [] if hidden is None else list(_blocks(model, hidden))
    if not found:
        raise UserError(
            f"no blocks of attention and feed-forward found in a {type(model).__name__}; "
            "bottleneck adapters need a transformer"
        )
    return found


def _blocks(
    module: torch.nn.Module, hidden: int
) -> Iterator[tuple[torch.nn.Module, dict[str, Sublayer]]]:
    for child in module.children():
        inner = list(_blocks(child, hidden))
        if not inner and isinstance(module, torch.nn.ModuleList):
            sublayers = _sublayers(child, hidden)
            if len(sublayers) == 2:
                yield child, sublayers
        yield from inner


def _sublayers(block: torch.nn.Module, hidden: int) -> dict[str, Sublayer]:
    linears = {name: module for name, module in block.named_modules() if _sizes(module)}
    attention = [linears[name] for name in linears if _attends(name) and not _crosses(name)]
    other = {name: module for name, module in linears.items() if not _attends(name)}
    own = next((child for child, _ in block.named_children() if child in FEED_FORWARDS), None)
    if own is not None:
        other = {name: m for name, m in other.items() if name == own or name.startswith(f"{own}.")}
    found = {"attention": _ends(attention, hidden)}
    experts = own is not None and any(
        "expert" in name for name, _ in block.get_submodule(own).named_modules()
    )
    if experts:
        whole = block.get_submodule(str(own))
        found["feed_forward"] = Sublayer(whole, whole, hidden)
    else:
        found["feed_forward"] = _ends(list(other.values()), hidden)
    return {kind: sublayer for kind, sublayer in found.items() if sublayer is not None}


def _ends(linears: Sequence[torch.nn.Module], hidden: int) -> Sublayer | None:
    """From the first map that reads the hidden size to the last that writes it.

    Models name their maps in this order; one that reads and runs earlier or later than another
    of the same sublayer reads the same states.
    """
    begin = next((module for module in linears if _sizes(module)[0] == hidden), None)
    end = next((module for module in reversed(linears) if _sizes(module)[1] == hidden), None)
    return None if begin is None or end is None else Sublayer(begin, end, hidden)


def _sizes(module: torch.nn.Module) -> tuple[int, ...]:
    """In and out of a linear map (GPT-2 has its own kind), or nothing."""
    if isinstance(module, torch.nn.Linear):
        return module.in_features, module.out_features
    if type(module).__name__ == "Conv1D" and hasattr(module, "nf"):
        return module.nx, module.nf
    return ()


def _attends(name: str) -> bool:
    return "att" in name.lower()


def _crosses(name: str) -> bool:
    return any(mark in name.lower() for mark in ("cross", "encoder_att", "encdec"))


def _adapter(sublayer: Sublayer, settings: Bottleneck, dtype: torch.dtype) -> Adapter:
    place = next(sublayer.end.parameters()).device
    adapter = Adapter(sublayer.hidden, settings, place, dtype)
    if settings.form == "sequential":
        sublayer.end.register_forward_hook(adapter.behind, with_kwargs=True)
        return adapter
    if sublayer.begin is not sublayer.end:
        sublayer.begin.register_forward_pre_hook(adapter.note, with_kwargs=True)
    sublayer.end.register_forward_hook(adapter.beside, with_kwargs=True)
    return adapter


def _first(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.Tensor:
    found: torch.Tensor = args[0] if args else kwargs["hidden_states"]
    return found


def _plus(out: Any, more: torch.Tensor) -> Any:
    if isinstance(out, tuple):
        return (out[0] + more, *out[1:])
    return out + more
