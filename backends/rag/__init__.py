"""Answers from the user's own documents, as cited passages: chunk, embed, index, search.

Light: the settings and the face only; torch, faiss and sentence-transformers are imported by
`backends.rag.job` when one of the calls is made.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from backends.base import Backend

Retriever = Literal["dense", "bm25", "hybrid"]
RETRIEVERS: tuple[Retriever, ...] = ("dense", "bm25", "hybrid")
# On English XQuAD with the packaged encoder, nineteen in twenty questions stand above it
# (benchmarks/xquad_rag.py); a questions file replaces it by one calibrated on the user's own.
ABSTAIN_BELOW = 0.4


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a corpus is cut, embedded, searched and answered from."""

    chunk_tokens: Annotated[
        int,
        Meta(
            ge=16,
            le=32768,
            description="longest passage with its heading, in the embedder's own tokens; "
            "what exceeds the embedder's window is lowered to it",
        ),
    ] = 220
    overlap_tokens: Annotated[
        int, Meta(ge=0, le=8192, description="tokens that neighbouring passages share")
    ] = 40
    retriever: Annotated[
        Retriever,
        Meta(description="what ranks passages: embeddings, words (BM25), or both fused"),
    ] = "hybrid"
    dense_weight: Annotated[
        Annotated[float, Meta(ge=0.0, le=1.0)] | None,
        Meta(
            description="weight of the embeddings in hybrid, the rest is BM25's; null: chosen on "
            "the questions file, without one by whether the embedder knows the language"
        ),
    ] = None
    word_forms: Annotated[
        Literal["both", "stems"] | None,
        Meta(
            description="words that BM25 counts: as they stand and without their endings, or "
            "without endings alone; null: chosen on the questions file, without one both"
        ),
    ] = None
    context: Annotated[
        Annotated[float, Meta(ge=0.0, le=10.0)] | None,
        Meta(
            description="weight of the passages around one (of its section) beside its own vector "
            "in hybrid, 0 for none; null: chosen on the questions file, without one 0.6"
        ),
    ] = None
    reranker: Annotated[
        str | None,
        Meta(description="cross-encoder that orders the best passages anew: a folder or hub id"),
    ] = None
    diversity: Annotated[
        float,
        Meta(
            ge=0.0, le=1.0, description="how much cited passages must differ (MMR); 0: not at all"
        ),
    ] = 0.0
    top_k: Annotated[int, Meta(ge=1, le=100, description="passages cited in an answer")] = 5
    language: Annotated[
        str,
        Meta(
            description="whose word endings BM25 strips: a Snowball language, 'none', or 'auto' "
            "for that of most documents"
        ),
    ] = "auto"
    duplicates: Annotated[
        Literal["keep", "exact", "near"],
        Meta(
            description="documents left out: exact copies of others, or near ones too "
            "(nine in ten runs of five words the same)"
        ),
    ] = "exact"
    vectors: Annotated[
        Literal["flat", "hnsw", "ivf-sq8", "ivf-pq"] | None,
        Meta(description="kind of the FAISS index; null: by size, memory and measured recall"),
    ] = None
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        Meta(
            description="of the embedder's weights; auto takes bf16 where the processor has it "
            "and its vectors agree with fp32 (cosine at least 0.99)"
        ),
    ] = "auto"
    engine: Annotated[
        Literal["auto", "torch", "openvino"],
        Meta(description="what computes the vectors; auto: the fastest that agrees with torch"),
    ] = "auto"
    batch_size: Annotated[int, Meta(ge=1, le=4096, description="passages embedded together")] = 32
    try_chunk_tokens: Annotated[
        tuple[Annotated[int, Meta(ge=16, le=32768)], ...],
        Meta(
            description="other sizes of passages to try on half of the questions, each with every "
            "weight of the fusion; the best is kept and measured on the other half"
        ),
    ] = ()
    made_questions: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="questions made from the documents where no questions file is given",
        ),
    ] = 0
    answer_sentences: Annotated[
        int, Meta(ge=1, le=10, description="sentences taken from the passages as the answer")
    ] = 2
    generator: Annotated[
        str | None,
        Meta(
            description="model that writes the answers: step:NAME for what an earlier step tuned, "
            "a folder, or as the endpoint of OPENAI_BASE_URL names it (asked once a question, its "
            "price not watched); null: sentences of the passages"
        ),
    ] = None
    abstain_below: Annotated[
        Annotated[float, Meta(ge=0.0, le=1.0)] | None,
        Meta(
            description="no answer when no cited passage supports the question as much as this "
            "(mean of cosine and of the question's words it holds); null: calibrated on the "
            f"questions file, without one {ABSTAIN_BELOW}",
        ),
    ] = None


BACKEND = Backend(
    name="rag",
    module="backends.rag.job",
    settings=Settings,
    aliases={
        "chunk_size": "chunk_tokens",
        "chunk_overlap": "overlap_tokens",
        "k": "top_k",
        "similarity_top_k": "top_k",
        "alpha": "dense_weight",
        "rerank_model": "reranker",
        "per_device_eval_batch_size": "batch_size",
    },
    needs=("torch", "sentence_transformers", "faiss", "bm25s", "Stemmer"),
)
