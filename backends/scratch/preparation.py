"""From a step to everything its training needs: model, tokenizer, shards, a way to read them."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM
from transformers import AutoModelForSeq2SeqLM as AutoModelForPairs

from backends import weights
from backends.base import Context, Step
from backends.scratch import Family, Settings, architectures, corpora, vocabulary
from backends.scratch.corpora import Corpus, Texts
from backends.scratch.measures import Reader
from backends.scratch.objectives import Masked, Spans, causal
from backends.training import precision, silence, trainer
from knowledge import pretraining
from knowledge.errors import UserError

CONTEXT = 256
HIDDEN = {"modernbert": 0.3}  # https://arxiv.org/abs/2412.13663, section 2.2; others 0.15
SMALLEST = 1000  # parameters that `Settings.parameters` allows
SPARSEST = 0.05  # tokens of text for each parameter, below which a model learns it by heart
RATES = {"llama": 2e-4, "bert": 2e-4, "modernbert": 2e-4, "t5": 3e-4}
"""Of continued models: about a tenth to a third of what they were made with, re-warmed, as
https://arxiv.org/abs/2403.08763, section 7.1, finds a fair trade against forgetting."""
LORA_RATE = 5e-4
KINDS: dict[str, Any] = {
    "llama": AutoModelForCausalLM,
    "bert": AutoModelForMaskedLM,
    "modernbert": AutoModelForMaskedLM,
    "t5": AutoModelForPairs,
}


class Prepared(NamedTuple):
    """What a training starts from; `new` names the parameters that a base had not."""

    model: Any
    tokenizer: Any
    reader: Reader
    domain: Corpus
    general: Corpus | None
    settings: Settings
    steps: int
    new: frozenset[str]
    notes: list[str]


def settled(step: Step, settings: Settings, aliases: Any) -> Settings:
    """The settings with a preset's values where the step itself says nothing.

    Raises:
        UserError: an unknown preset, or keys of the other method.
    """
    given = {aliases.get(key, key) for key in step.settings}
    if step.method != "cpt":
        wrong = sorted(given & {"adapter", "rank", "alpha", "replay", "add_tokens"})
        if wrong:
            raise UserError(f"step {step.name!r}: {wrong[0]} is of cpt, not of {step.method}")
    elif wrong := sorted(given & {"layers", "width", "heads", "parameters", "preset"}):
        raise UserError(f"step {step.name!r}: {wrong[0]} is of scratch; cpt has a model's size")
    elif settings.add_tokens and settings.adapter == "lora":
        raise UserError(
            f"step {step.name!r}: new tokens need their embeddings trained; set adapter: none"
        )
    if settings.preset is None:
        return settings
    values = pretraining.find(settings.preset).settings()
    if "parameters" in given:
        values = {k: v for k, v in values.items() if k not in ("layers", "width", "heads")}
    if "tokens" in given:
        values.pop("max_steps", None)
    return msgspec.structs.replace(
        settings, **{key: value for key, value in values.items() if key not in given}
    )


def prepared(step: Step, settings: Settings, context: Context) -> Prepared:
    """Tokenizer, shards and model of a step; the shards stay in the step's folder.

    Raises:
        UserError: no text, too little of it for the model, or a tokenizer that does not fit it.
    """
    silence.quiet()
    folder = context.folder / "tokens"
    domain = corpora.split(step, settings, context)
    general = None
    if step.data.corpus is not None:
        general = corpora.parted(step.data.corpus, settings.validation_share or 0.1)
    continued = step.method == "cpt"
    source = weights.local(str(step.model), context.artefacts) if continued else None
    family = settings.family if source is None else family_of(source, str(step.model))
    settings = msgspec.structs.replace(settings, family=family)
    base_tokens = None if source is None else vocabulary.kept(source)
    tokenizer = _tokenizer(settings, base_tokens, domain, context)
    anew = not context.resume
    held = corpora.corpus(domain, tokenizer, folder, (corpora.TRAIN, corpora.HELD), anew, context)
    beside = None
    if general is not None:
        names = corpora.GENERAL, corpora.GENERAL_HELD
        beside = corpora.corpus(general, tokenizer, folder, names, anew, context)
    notes: list[str] = []
    model, new = _model(settings, source, step, base_tokens, tokenizer, context)
    length = _context(settings, model, tokenizer)
    settings, steps = _measured_out(settings, model, held, length, continued)
    refuse_too_little(settings, model, held, steps, length, continued)
    settings = _with_rate(settings, model, continued)
    read = reader(settings, tokenizer, length, trainer.seed(context, settings))
    model.to(precision.device())
    return Prepared(model, tokenizer, read, held, beside, settings, steps, new, notes)


def family_of(source: str, name: str) -> Family:
    """What a model on disk learns like: a decoder, an encoder or both."""
    with weights.loading(name):
        config = AutoConfig.from_pretrained(source)
    if config.is_encoder_decoder:
        return "t5"
    if config.model_type == "modernbert":
        return "modernbert"
    listed = (config.architectures or [""])[0]
    encoder = config.model_type in ("bert", "roberta", "xlm-roberta", "distilbert", "electra")
    return "bert" if encoder and not listed.endswith("LMHeadModel") else "llama"


def refuse_too_little(
    settings: Settings, model: Any, found: Corpus, steps: int, length: int, continued: bool
) -> None:
    """Raise `UserError` if a text is too small for what is to be learnt, before a step is run."""
    tokens = found.train.tokens
    wanted = steps * settings.micro_batch * settings.accumulation * length
    if wanted > settings.most_epochs * tokens:
        raise UserError(
            f"the text has {tokens:,} tokens and the run asks for {wanted:,}, "
            f"{wanted / tokens:.1f} times through it; more than {settings.most_epochs:g} times "
            f"teaches hardly more: {_largest(settings, model, tokens)}; take more text "
            f"({math.ceil(wanted / settings.most_epochs):,} tokens for this run), fewer tokens, or "
            "raise most_epochs"
        )
    if not continued and tokens < SPARSEST * _count(model):
        raise UserError(
            f"the text has {tokens:,} tokens for {_count(model):,} parameters; the largest model "
            f"that would not just learn it by heart has {tokens / SPARSEST:,.0f}: "
            f"{_largest(settings, model, tokens)}; take a smaller model or give more text"
        )


def _largest(settings: Settings, model: Any, tokens: int) -> str:
    """What is to be said of the largest sensible model for so many tokens of text."""
    best = settings.most_epochs * tokens / settings.tokens_per_parameter
    this = f"(this has {_count(model):,})"
    if best < SMALLEST:
        return f"it is too little for any sensible model {this}"
    return f"the largest sensible model has about {best:,.0f} parameters {this}"


def _tokenizer(settings: Settings, base: Any, domain: Texts, context: Context) -> Any:
    kept = context.folder / "tokenizer"
    if context.resume and (kept / "tokenizer.json").is_file():
        return vocabulary.kept(kept)
    size = 0
    if base is None and settings.vocabulary_size is None:
        size = sum(len(text) for text in domain.train())
    found = corpora.tokenizer_for(settings, base, domain, size)
    found.save_pretrained(kept)
    return found


def _model(
    settings: Settings, source: str | None, step: Step, old: Any, tokenizer: Any, context: Context
) -> tuple[Any, frozenset[str]]:
    seed = trainer.seed(context, settings)
    if source is None:
        return architectures.made(settings, tokenizer, settings.max_length or CONTEXT, seed), (
            frozenset()
        )
    torch.manual_seed(seed)
    with weights.loading(str(step.model)):
        model, report = KINDS[settings.family].from_pretrained(
            source, dtype=torch.float32, output_loading_info=True, use_safetensors=True
        )
    tied = {name for name in report["missing_keys"] if name.endswith("decoder.weight")}
    if settings.add_tokens:
        vocabulary.widened(model, old, tokenizer)
    return model, frozenset(set(report["missing_keys"]) - tied)


def _context(settings: Settings, model: Any, tokenizer: Any) -> int:
    """Tokens of a row as the model sees it."""
    longest = int(getattr(model.config, "max_position_embeddings", 0) or 2**20)
    length = settings.max_length or min(CONTEXT, longest)
    if length > longest:
        raise UserError(f"max_length is {length}; the model reads {longest} tokens at most")
    tokenizer.model_max_length = length
    return length


def _measured_out(
    settings: Settings, model: Any, found: Corpus, length: int, continued: bool
) -> tuple[Settings, int]:
    """The steps of the training: as given, by tokens, by epochs, or by the size of the model."""
    each = settings.micro_batch * settings.accumulation * length
    if settings.max_steps is not None:
        return settings, settings.max_steps
    tokens = settings.tokens
    if tokens is None and (settings.epochs is not None or continued):
        tokens = int((settings.epochs or 1.0) * found.train.tokens)
    if tokens is None:
        tokens = int(settings.tokens_per_parameter * _count(model))
    return settings, max(1, math.ceil(tokens / each) if not continued else round(tokens / each))


def _with_rate(settings: Settings, model: Any, continued: bool) -> Settings:
    """The settings with a learning rate.

    Source for new models: https://arxiv.org/abs/2001.08361, appendix D.6, by size.
    """
    if settings.learning_rate is not None:
        return settings
    if continued:
        rate = LORA_RATE if settings.adapter == "lora" else RATES[settings.family]
    else:
        rate = 0.003239 - 0.0001395 * math.log(_count(model))
    return msgspec.structs.replace(settings, learning_rate=rate)


def reader(settings: Settings, tokenizer: Any, length: int, seed: int) -> Reader:
    """How a family reads packed tokens in rows of so many, as its model sees them."""
    if settings.family == "llama":
        return Reader(causal, length, settings.micro_batch)
    share = settings.mask_share or HIDDEN.get(settings.family, 0.15)
    if settings.family == "t5":
        return Reader(Spans(tokenizer, share, settings.span, seed), length, settings.micro_batch)
    objective = Masked(tokenizer, share, seed)
    return Reader(objective, length - objective.added, settings.micro_batch)


def _count(model: Any) -> int:
    return int(sum(p.numel() for p in model.parameters()))


def folder_of(context: Context, name: str) -> Path:
    """A folder of the step's own for a training beside the main one."""
    path = context.folder / name
    path.mkdir(parents=True, exist_ok=True)
    return path
