"""One job of an estimate: the record, its flags, and what may be asked of it.

Every field is one key of `advisor estimate --jobs`, one flag of `advisor estimate`, and (where it
is a configuration) one column of `knowledge/data/memory.csv`. None is "not said": the estimate
then derives it and says so among its assumptions.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from math import isfinite
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from advisor.aliases import ALIASES, VALUES
from knowledge.errors import UserError, unknown

Quant = Literal[
    "none", "nf4", "nf4-dq", "fp4", "fp4-dq", "int8", "gptq-int4", "gptq-int8", "awq", "fp8",
    "gguf-q2_k", "gguf-q3_k_m", "gguf-q4_0", "gguf-q4_k_m", "gguf-q5_k_m", "gguf-q6_k",
    "gguf-q8_0",
]  # fmt: skip
Dtype = Literal["fp32", "bf16", "fp16"]
Optimizer = Literal[
    "adamw", "adamw-8bit", "adamw-4bit", "paged-adamw", "paged-adamw-8bit", "adafactor", "sgd",
    "sgd-momentum", "lion", "lion-8bit", "paged-lion", "paged-lion-8bit", "muon", "lomo",
    "galore-adamw", "galore-adamw-8bit",
]  # fmt: skip
StateDtype = Literal["fp32", "bf16", "fp16", "int8", "int4", "as-weights"]
Checkpointing = Literal["none", "selective", "full", "full-offloaded"]
Sharding = Literal["none", "ddp", "zero1", "zero2", "zero3", "fsdp", "hsdp"]
LossImpl = Literal["full", "chunked", "fused", "cut-cross-entropy"]


Count = Annotated[int, msgspec.Meta(ge=1)]
Whole = Annotated[int, msgspec.Meta(ge=0)]
Amount = Annotated[float, msgspec.Meta(gt=0)]
Quantity = Annotated[float, msgspec.Meta(ge=0)]


def _about(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is to be run, in the words of the contract."""

    model: Annotated[
        str | dict[str, Any] | None,
        _about("Model: catalogue id, hub id, folder or config.json, or its keys inline."),
    ] = None
    method: Annotated[str, _about("Method, such as inference, full-ft, lora, qlora, dpo, rag.")] = (
        "inference"
    )
    id: Annotated[str | None, _about("Name of the job, repeated in its answer.")] = None

    # What the method adds or trains
    lora_rank: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=65536)] | None, _about("Rank of a low-rank method.")
    ] = None
    lora_targets: Annotated[
        str | None, _about("Linears with an adapter: q,v or all-linear or module names.")
    ] = None
    lora_dropout: Annotated[
        Annotated[float, msgspec.Meta(ge=0, lt=1)] | None,
        _about("Share of an adapter's inputs dropped in training."),
    ] = None
    train_also: Annotated[
        str | None, _about("Modules trained in full beside the adapter: embedding,lm_head.")
    ] = None
    trainable_params: Annotated[
        Whole | None, _about("Trainable parameters, where they are known.")
    ] = None
    train: Annotated[
        Literal["head", "last-k", "all"] | None, _about("head-ft: which part of it trains.")
    ] = None
    last_k: Annotated[Count | None, _about("head-ft with last-k: blocks that train.")] = None
    classes: Annotated[
        Annotated[int, msgspec.Meta(ge=2)] | None, _about("head-ft: number of classes.")
    ] = None
    virtual_tokens: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None,
        _about("Trained tokens of soft prompts and prefixes."),
    ] = None
    adapter_width: Annotated[Count | None, _about("Width of a bottleneck adapter.")] = None
    adapter_dtype: Annotated[Dtype | None, _about("Number format of what is added.")] = None
    completions: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=1024)] | None,
        _about("Answers sampled for one prompt (GRPO)."),
    ] = None
    reference: Annotated[
        Literal["model", "precomputed"] | None,
        _about("Where a reference's log-probabilities come from."),
    ] = None

    # Numbers and optimizer
    quant: Annotated[Quant | None, _about("How the base's weights are held.")] = None
    weights_dtype: Annotated[Dtype | None, _about("Number format of the weights.")] = None
    master_dtype: Annotated[Dtype | None, _about("Format of a master copy, if there is one.")] = (
        None
    )
    autocast: Annotated[bool | None, _about("fp32 weights computed in bf16 (mixed precision).")] = (
        None
    )
    optimizer: Annotated[Optimizer | None, _about("Optimizer.")] = None
    optimizer_dtype: Annotated[StateDtype | None, _about("Format of the optimizer's states.")] = (
        None
    )
    in_backward: Annotated[bool | None, _about("The optimizer steps inside the backward pass.")] = (
        None
    )

    # The batch
    micro_batch: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None,
        _about("Examples per GPU in one pass."),
    ] = None
    gradient_accumulation: Annotated[Count | None, _about("Passes before one optimizer step.")] = (
        None
    )
    seq_len: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=100_000_000)] | None, _about("Tokens of one sequence.")
    ] = None
    seq_len_is: Annotated[
        Literal["exact", "cap", "assumed"] | None,
        _about("Whether seq_len is reached (exact) or only a limit (cap)."),
    ] = None
    packing: Annotated[bool | None, _about("Short examples share one sequence.")] = None
    new_tokens: Annotated[Whole | None, _about("Tokens generated per sequence.")] = None
    kv_bits: Annotated[
        Annotated[float, msgspec.Meta(gt=0, le=32)] | None,
        _about("Bits of one number in the cache."),
    ] = None

    # How it is computed
    checkpointing: Annotated[
        Checkpointing | None, _about("Activations recomputed in the backward pass.")
    ] = None
    attention: Annotated[
        Literal["eager", "sdpa", "flash"] | None, _about("Attention implementation.")
    ] = None
    engine: Annotated[str | None, _about("Library whose habits count, such as transformers.")] = (
        None
    )
    compile: Annotated[bool | None, _about("Kernels fused by a compiler.")] = None
    loss_impl: Annotated[LossImpl | None, _about("How the loss over the vocabulary is made.")] = (
        None
    )
    fp8: Annotated[bool | None, _about("Matrix products of training in FP8.")] = None
    year: Annotated[
        Annotated[int, msgspec.Meta(ge=2017, le=2100)] | None,
        _about("Year of the software, for runs of the past: it was slower."),
    ] = None
    phase: Annotated[
        Literal["peak", "static", "load"] | None,
        _about("Which moment is asked about: the peak, between steps, or after loading."),
    ] = None

    # Where it runs
    gpu: Annotated[str | None, _about("GPU, or cpu.")] = None
    cpu_cores: Annotated[Count | None, _about("Processor cores, with gpu cpu.")] = None
    n_gpus: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None, _about("GPUs in all.")
    ] = None
    sharding: Annotated[Sharding | None, _about("What data-parallel ranks share out.")] = None
    dp: Annotated[Count | None, _about("Data-parallel ranks.")] = None
    shard_group: Annotated[Count | None, _about("HSDP: ranks that share one copy.")] = None
    tp: Annotated[Count | None, _about("Tensor-parallel ranks.")] = None
    sequence_parallel: Annotated[
        bool | None, _about("Tensor parallel ranks share norms' activations too.")
    ] = None
    pp: Annotated[Count | None, _about("Pipeline stages.")] = None
    cp: Annotated[Count | None, _about("Context-parallel ranks.")] = None
    ep: Annotated[Count | None, _about("Expert-parallel ranks.")] = None
    offload: Annotated[
        Literal["none", "optimizer", "params", "all"] | None, _about("What is kept in host memory.")
    ] = None

    # How much work
    examples: Annotated[Whole | None, _about("Training examples, or requests served.")] = None
    tokens_per_example: Annotated[Amount | None, _about("Mean tokens of one example.")] = None
    epochs: Annotated[Amount | None, _about("Passes over the examples.")] = None
    tokens: Annotated[Quantity | None, _about("Training tokens in all, instead of examples.")] = (
        None
    )
    tokens_off: Annotated[
        Annotated[float, msgspec.Meta(ge=1, le=100)] | None,
        _about("Factor by which these tokens may be off, either way."),
    ] = None

    # Hosted models and retrieval
    requests: Annotated[Whole | None, _about("Requests to answer, a month.")] = None
    tokens_in: Annotated[Quantity | None, _about("Tokens of one request.")] = None
    tokens_out: Annotated[Quantity | None, _about("Tokens of one answer.")] = None
    cached_share: Annotated[
        Annotated[float, msgspec.Meta(ge=0, le=1)] | None,
        _about("Share of a request read from the provider's cache."),
    ] = None
    batch_api: Annotated[bool | None, _about("Requests wait for the cheaper batch service.")] = None
    corpus_tokens: Annotated[Quantity | None, _about("rag: tokens of all documents.")] = None
    passage_tokens: Annotated[Amount | None, _about("rag: tokens of one passage.")] = None
    passages: Annotated[Whole | None, _about("rag: passages put into one prompt.")] = None
    embedder: Annotated[str | None, _about("rag: model that embeds passages.")] = None

    # Money
    spot: Annotated[bool | None, _about("Rent at spot prices.")] = None
    owned: Annotated[bool | None, _about("The GPUs are your own: amortised, with electricity.")] = (
        None
    )
    gpu_usd: Annotated[
        Amount | None, _about("With owned: what one GPU and its share cost [USD].")
    ] = None
    usd_per_kwh: Annotated[Amount | None, _about("Price of electricity [USD per kWh].")] = None
    co2_g_per_kwh: Annotated[Quantity | None, _about("CO2 of the electricity [g per kWh].")] = None
    labels: Annotated[Whole | None, _about("Examples that people must label.")] = None
    usd_per_label: Annotated[Amount | None, _about("Price of one label [USD].")] = None
    people_hours: Annotated[Quantity | None, _about("Hours of your own people.")] = None
    usd_per_hour: Annotated[Amount | None, _about("What an hour of your people costs [USD].")] = (
        None
    )
    months: Annotated[Amount | None, _about("Months over which requests are counted.")] = None
    utilisation: Annotated[
        Annotated[float, msgspec.Meta(gt=0, le=1)] | None,
        _about("Share of a server's capacity that traffic uses over the day."),
    ] = None


class Field(NamedTuple):
    """What a flag needs: the key, the plain type, its choices or None, one line of help."""

    name: str
    type: type
    choices: tuple[str, ...] | None
    help: str


@cache
def fields() -> tuple[Field, ...]:
    """The job's keys as flags, in order; `--micro-batch` is the key `micro_batch`."""
    return tuple(_fields())


def _fields() -> Iterator[Field]:
    hints = get_type_hints(Job, include_extras=True)
    for name in Job.__struct_fields__:
        annotated = hints[name]
        plain, meta = annotated.__origin__, annotated.__metadata__[0]
        choices = tuple(c for part in _parts(plain) for c in _choices(part))
        kinds = [part for part in _parts(plain) if part in (int, float, bool, str)]
        yield Field(name, kinds[0] if kinds else str, choices or None, meta.description or "")


def settled(mapping: Mapping[str, Any]) -> Job:
    """The job that keys and values say; other trainers' names are known keys.

    Empty strings (an empty cell) are absent; numbers and yes/no may be text.

    Raises:
        UserError: an unknown key (with the nearest), or a value out of its range.
    """
    plain: dict[str, Any] = {}
    for given, value in mapping.items():
        key = given.replace("-", "_")
        key = ALIASES.get(key, key)
        if key not in Job.__struct_fields__:
            raise unknown("job key", given, (*Job.__struct_fields__, *ALIASES))
        if key in plain and plain[key] != value:
            raise UserError(f"{given!r} and another name of {key!r} are both given; keep one")
        if value is not None and value != "":
            plain[key] = _spoken(key, value)
    _ranked(plain)
    try:
        job = msgspec.convert(plain, Job, strict=False)
    except msgspec.ValidationError as error:
        raise _explained(error, plain) from None
    for key in plain:
        if isinstance(getattr(job, key), float) and not isfinite(getattr(job, key)):
            raise UserError(f"{key} is {plain[key]!r}; it must be a number with an end")
    return job


def _ranked(plain: dict[str, Any]) -> None:
    """Read `lora-r8` as the method lora with rank 8."""
    found = re.fullmatch(r"(.+)-r(\d+)", str(plain.get("method", "")))
    if found:
        plain["method"] = found[1]
        plain.setdefault("lora_rank", int(found[2]))


def _spoken(key: str, value: Any) -> Any:
    """The value in the job's own words."""
    if isinstance(value, list | tuple) and key in ("lora_targets", "train_also"):
        return ",".join(str(one) for one in value)
    if isinstance(value, bool) and key in VALUES:
        value = str(value)
    if not isinstance(value, str):
        return value
    word = value.strip()
    if key in _switches():
        return {"yes": True, "no": False}.get(word.lower(), word)
    if key in VALUES:
        word = word.lower()
        return VALUES[key].get(word, word)
    return word


@cache
def _switches() -> frozenset[str]:
    return frozenset(field.name for field in fields() if field.type is bool)


def _explained(error: msgspec.ValidationError, plain: Mapping[str, Any]) -> UserError:
    """msgspec's complaint with the value seen and, where there are some, the choices."""
    text = str(error)
    place = re.search(r"`\$\.(\w+)", text)
    key = place[1] if place else ""
    known = {field.name: field for field in fields()}
    if key in known and (choices := known[key].choices) and "nvalid enum" in text:
        return unknown(key, str(plain[key]), choices)
    limit = re.search(r"`(?:int|float)` (>=|<=|>|<) (\S+?)(?: - |$)", text)
    if limit:
        words = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
        wanted = f"must be {words[limit[1]]} {limit[2].removesuffix('.0')}"
    else:
        kind = known[key].type if key in known else str
        nouns = {int: "a whole number", float: "a number", bool: "yes or no"}
        wanted = f"must be {nouns.get(kind, 'text')}"
    return UserError(f"{key} is {plain.get(key)!r}; it {wanted}")


def _parts(plain: Any) -> tuple[Any, ...]:
    if get_origin(plain) is Literal:
        return (plain,)
    parts = get_args(plain) or (plain,)
    bare = (p.__origin__ if hasattr(p, "__metadata__") else p for p in parts)
    return tuple(part for part in bare if part is not type(None))


def _choices(part: Any) -> tuple[str, ...]:
    return get_args(part) if get_origin(part) is Literal else ()
