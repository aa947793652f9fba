"""Text as it is found, made into a corpus to train on: read, mended, sifted, without copies.

Light: the settings and the face only; what reads and sifts is imported by `backends.curation.job`
when one of the calls is made.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from backends.base import Backend

Share = Annotated[float, Meta(gt=0.0, lt=1.0)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is read, what is dropped, and what the corpus is cut into."""

    separator: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(
            description="text between the documents of a plain file; null: a file is a document",
        ),
    ] = None
    repair: Annotated[bool, Meta(description="undo broken encodings and control characters")] = True
    languages: Annotated[
        tuple[str, ...], Meta(description="ISO 639-1 codes to keep; empty: all, counted")
    ] = ()
    filters: Annotated[
        tuple[str, ...],
        Meta(
            description="quality filters, by id or by family: gopher, gopher-repetition, c4, "
            "fineweb; empty: none"
        ),
    ] = ("gopher", "gopher-repetition")
    without: Annotated[tuple[str, ...], Meta(description="of those, filters left out")] = ()
    personal: Annotated[
        Literal["mask", "drop", "keep"],
        Meta(description="secrets and personal data: masked by their kind, or their text dropped"),
    ] = "mask"
    abuse_per_1000_words: Annotated[
        Annotated[float, Meta(ge=0.0)] | None,
        Meta(description="words of abuse above which a text is dropped; null: counted only"),
    ] = 10.0
    bias: Annotated[
        bool,
        Meta(description="drop texts with abuse in one sentence with the name of a group"),
    ] = False
    abuse_words: Annotated[
        str | None, Meta(description="a file of further words of abuse, one a line")
    ] = None
    duplicates: Annotated[
        Literal["keep", "exact", "near"], Meta(description="copies of other texts to drop")
    ] = "near"
    resemblance: Annotated[
        Annotated[float, Meta(ge=0.5, le=1.0)],
        Meta(description="shared runs of five words from which two texts are near copies"),
    ] = 0.7
    validation: Annotated[
        float, Meta(ge=0.0, le=0.5, description="share of the documents held back")
    ] = 0.05
    file_megabytes: Annotated[
        int, Meta(ge=1, le=4096, description="size of one file of the corpus")
    ] = 256
    tokenizer: Annotated[
        Literal["bpe", "unigram", "bytes", "characters", "keep", "extend"] | None,
        Meta(
            description="trained on the corpus, or that of the step's model, kept or extended; "
            "with one, the tokens are written as shards too"
        ),
    ] = None
    vocabulary_size: Annotated[
        Annotated[int, Meta(ge=258, le=2**20)] | None,
        Meta(description="tokens of a bpe or unigram vocabulary"),
    ] = None
    new_pieces: Annotated[
        int, Meta(ge=1, le=100_000, description="pieces that extend adds to a vocabulary")
    ] = 1000
    tokenizer_megabytes: Annotated[
        int, Meta(ge=1, le=100_000, description="text that a vocabulary is learned from, at most")
    ] = 1000


BACKEND = Backend(
    name="curation",
    module="backends.curation.job",
    settings=Settings,
    aliases={
        "vocab_size": "vocabulary_size",
        "validation_split": "validation",
        "minhash_threshold": "resemblance",
        "dedup": "duplicates",
    },
    needs=("numpy", "transformers", "tokenizers", "py3langid", "trafilatura", "warcio", "ftfy",
           "charset_normalizer"),
    extra="run,curate",
)  # fmt: skip
