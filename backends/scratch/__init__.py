"""Training on plain text: a new model from random weights, or a finished one continued.

`scratch` makes a decoder (next token), an encoder (hidden tokens) or an encoder-decoder (spans
taken out); `cpt` continues a model of any of these kinds, in full or through LoRA.
"""

from typing import Annotated, Literal

from msgspec import Meta

from backends.base import Backend
from backends.training import ALIASES as TRAINING_ALIASES
from backends.training import Training

Family = Literal["llama", "bert", "modernbert", "t5"]


class Settings(Training, frozen=True, forbid_unknown_fields=True):
    """Settings of `scratch` and `cpt`; a preset's values stand for those that are not given."""

    preset: (
        Annotated[str, Meta(description="a recipe: char-cpu, char-gpu, gpu-day, gpu-day-encoder")]
        | None
    ) = None
    schedule: Annotated[
        Literal["linear", "cosine", "wsd", "constant", "constant_with_warmup"],
        Meta(description="how the rate falls; wsd: it stays, and falls over decay_share"),
    ] = "cosine"
    warmup: Annotated[
        float, Meta(ge=0, description="below 1: share of all steps with a rising rate; else steps")
    ] = 0.05
    beta2: Annotated[float, Meta(gt=0, lt=1, description="AdamW's memory of squared gradients")] = (
        0.95
    )
    weight_decay: Annotated[float, Meta(ge=0, le=1, description="AdamW's decay of matrices")] = 0.1
    family: Annotated[
        Family,
        Meta(
            description="llama: decoder, next token; bert, modernbert: encoder, hidden tokens; "
            "t5: encoder-decoder, spans taken out"
        ),
    ] = "llama"
    parameters: (
        Annotated[int, Meta(ge=1000, description="size of the model; layers and width follow")]
        | None
    ) = None
    layers: Annotated[int, Meta(ge=1, description="blocks")] | None = None
    width: Annotated[int, Meta(ge=8, description="of the hidden state")] | None = None
    heads: Annotated[int, Meta(ge=1, description="attention heads")] | None = None
    dropout: Annotated[float, Meta(ge=0, lt=1, description="in a model that is made here")] = 0.0
    vocabulary: Annotated[
        Literal["bpe", "unigram", "bytes", "characters"],
        Meta(description="the kind of tokenizer that is trained on the text"),
    ] = "bpe"
    vocabulary_size: (
        Annotated[int, Meta(ge=8, description="tokens of it; none: by the text's size")] | None
    ) = None
    tokenizer: (
        Annotated[str, Meta(description="a folder or hub id whose tokenizer is kept instead")]
        | None
    ) = None
    add_tokens: Annotated[
        int, Meta(ge=0, description="cpt: pieces of the domain that the vocabulary gains")
    ] = 0
    tokens: (
        Annotated[int, Meta(ge=1, description="tokens to learn from, repeats counted")] | None
    ) = None
    tokens_per_parameter: Annotated[
        float, Meta(gt=0, description="of scratch, where neither tokens nor max_steps are given")
    ] = 20.0
    most_epochs: Annotated[
        float, Meta(gt=0, description="passes over the text beyond which a run is refused")
    ] = 4.0
    floor: Annotated[float, Meta(ge=0, le=1, description="share of the rate left at the end")] = 0.1
    z_loss: Annotated[
        float, Meta(ge=0, le=1, description="weight of the squared log of the softmax's sum")
    ] = 0.0
    spike: (
        Annotated[
            float,
            Meta(gt=0, description="a loss so many deviations above the last ones is not learnt"),
        ]
        | None
    ) = 6.0
    compile: Annotated[bool, Meta(description="none: where it pays")] | None = None
    mask_share: (
        Annotated[float, Meta(gt=0, lt=0.9, description="tokens hidden; none: 0.15, new BERTs 0.3")]
        | None
    ) = None
    span: Annotated[float, Meta(ge=1, description="mean tokens of a span taken out")] = 3.0
    replay: Annotated[
        float,
        Meta(ge=0, lt=1, description="cpt: share of the batches from data.corpus, general text"),
    ] = 0.1
    adapter: Annotated[
        Literal["none", "lora"], Meta(description="cpt: what learns; lora is merged at the end")
    ] = "none"
    rank: Annotated[int, Meta(ge=1, description="of lora")] = 16
    alpha: Annotated[float, Meta(gt=0, description="lora's update is scaled by alpha/rank")] = 32.0
    evaluations: Annotated[int, Meta(ge=1, description="looks at held-out text on the way")] = 10
    samples: Annotated[int, Meta(ge=0, description="texts drawn from a decoder at the end")] = 8
    sample_tokens: Annotated[int, Meta(ge=1, description="of each at most")] = 256
    temperature: Annotated[float, Meta(gt=0, description="of the draws")] = 0.8
    top_k: Annotated[int, Meta(ge=0, description="likeliest tokens drawn from; 0: all")] = 0
    prompt: Annotated[str, Meta(description="what each drawn text begins with")] = ""
    sequence: (
        Annotated[
            Literal["abc", "dna", "log"],
            Meta(description="what the text is, so that drawn ones can be checked"),
        ]
        | None
    ) = None
    predict: Annotated[
        bool,
        Meta(
            description="first train on a twentieth, a tenth and a fifth, and say what loss the "
            "whole run will come to"
        ),
    ] = False
    stop_above: (
        Annotated[float, Meta(gt=0, description="with predict: no full run if more is predicted")]
        | None
    ) = None


ALIASES = {
    **TRAINING_ALIASES,
    "architecture": "family",
    "block_size": "max_length",
    "context": "max_length",
    "n_layer": "layers",
    "num_hidden_layers": "layers",
    "n_embd": "width",
    "hidden_size": "width",
    "n_head": "heads",
    "num_attention_heads": "heads",
    "mlm_probability": "mask_share",
    "replay_share": "replay",
    "lora_rank": "rank",
    "lora_alpha": "alpha",
    "torch_compile": "compile",
    "vocab_size": "vocabulary_size",
}

BACKEND = Backend(
    name="scratch",
    module="backends.scratch.job",
    settings=Settings,
    aliases=ALIASES,
    needs=("torch", "transformers", "accelerate", "peft", "safetensors", "tokenizers", "numpy"),
)
