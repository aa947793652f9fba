"""Other retrieval libraries as their documentation sets them up, over passages cut elsewhere.

Each takes texts and a model's folder and gives `searchers`: for each configuration a function
from a question to the places of texts, best first. A library that is not installed is left out.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

DEPTH = 50
Search = Callable[[str], Sequence[int]]
Searchers = dict[str, Search]
_given: Callable[[Sequence[str]], Any] | None = None


@contextmanager
def handed(vectors: Callable[[Sequence[str]], Any] | None) -> Iterator[None]:
    """Let libraries take the vectors of texts from a function instead of making them.

    All of them embed by sentence-transformers or can be told to ask somebody else.

    Args:
        vectors: must not itself embed by sentence-transformers meanwhile.
    """
    global _given
    if vectors is None:
        yield
        return
    from sentence_transformers import SentenceTransformer

    def encode(_: Any, texts: Any, *unused: Any, **options: Any) -> Any:
        rows = vectors([texts] if isinstance(texts, str) else list(texts))
        return rows[0] if isinstance(texts, str) else rows

    _given = vectors
    try:
        with patch.multiple(
            SentenceTransformer, encode=encode, encode_query=encode, encode_document=encode
        ):
            yield
    finally:
        _given = None


def txtai(texts: list[str], model: str) -> Searchers:
    """Embeddings with `hybrid=True`; sparse alone is its BM25."""
    from txtai import Embeddings

    made: Searchers = {}
    dense: dict[str, Any] = {"path": model}
    if (given := _given) is not None:
        dense = {"method": "external", "transform": lambda rows: given(list(rows))}
    for name, options in {
        "dense": dense,
        "BM25": {"keyword": True},
        "hybrid": {**dense, "hybrid": True},
    }.items():
        index = Embeddings(**options)
        index.index(enumerate(texts))
        made[name] = lambda question, index=index: [at for at, _ in index.search(question, DEPTH)]
    return made


def langchain(texts: list[str], model: str) -> Searchers:
    """FAISS and BM25Retriever, joined by EnsembleRetriever with equal weights."""
    from langchain_classic.retrievers import EnsembleRetriever
    from langchain_community.retrievers import BM25Retriever
    from langchain_community.vectorstores import FAISS
    from langchain_huggingface import HuggingFaceEmbeddings

    rows = [{"at": at} for at in range(len(texts))]
    store = FAISS.from_texts(texts, HuggingFaceEmbeddings(model_name=model), metadatas=rows)
    dense = store.as_retriever(search_kwargs={"k": DEPTH})
    sparse = BM25Retriever.from_texts(texts, metadatas=rows)
    sparse.k = DEPTH
    both = EnsembleRetriever(retrievers=[sparse, dense], weights=[0.5, 0.5])

    def searching(retriever: Any) -> Search:
        return lambda question: [one.metadata["at"] for one in retriever.invoke(question)]

    return {"dense": searching(dense), "BM25": searching(sparse), "hybrid": searching(both)}


def llama_index(texts: list[str], model: str) -> Searchers:
    """VectorStoreIndex and BM25Retriever, joined by QueryFusionRetriever with reciprocal ranks."""
    from llama_index.core import VectorStoreIndex
    from llama_index.core.llms import MockLLM
    from llama_index.core.retrievers import QueryFusionRetriever
    from llama_index.core.schema import TextNode
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding
    from llama_index.retrievers.bm25 import BM25Retriever

    nodes = [TextNode(text=text, id_=str(at)) for at, text in enumerate(texts)]
    index = VectorStoreIndex(nodes, embed_model=HuggingFaceEmbedding(model_name=model))
    dense = index.as_retriever(similarity_top_k=DEPTH)
    sparse = BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=min(DEPTH, len(nodes)))
    both = QueryFusionRetriever(
        [dense, sparse],
        llm=MockLLM(),
        num_queries=1,
        mode="reciprocal_rerank",
        similarity_top_k=DEPTH,
        use_async=False,
    )

    def searching(retriever: Any) -> Search:
        return lambda question: [int(one.node.node_id) for one in retriever.retrieve(question)]

    return {"dense": searching(dense), "BM25": searching(sparse), "hybrid": searching(both)}


def haystack(texts: list[str], model: str) -> Searchers:
    """In-memory BM25 and embedding retrievers, joined by DocumentJoiner with reciprocal ranks."""
    from haystack import Document
    from haystack.components.joiners import DocumentJoiner
    from haystack.components.retrievers.in_memory import (
        InMemoryBM25Retriever,
        InMemoryEmbeddingRetriever,
    )
    from haystack.document_stores.in_memory import InMemoryDocumentStore
    from sentence_transformers import SentenceTransformer

    # The embedder components of Haystack are this library behind a face, in another package.
    encoder = SentenceTransformer(model)
    vectors = encoder.encode(texts, batch_size=32, show_progress_bar=False)
    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    store.write_documents(
        [
            Document(id=str(at), content=text, embedding=vector.tolist())
            for at, (text, vector) in enumerate(zip(texts, vectors, strict=True))
        ]
    )
    dense = InMemoryEmbeddingRetriever(store, top_k=DEPTH)
    sparse = InMemoryBM25Retriever(store, top_k=DEPTH)
    joiner = DocumentJoiner(join_mode="reciprocal_rank_fusion")

    def near(question: str) -> list[Any]:
        vector = encoder.encode(question, show_progress_bar=False).tolist()
        found: list[Any] = dense.run(query_embedding=vector)["documents"]
        return found

    def worded(question: str) -> list[Any]:
        found: list[Any] = sparse.run(query=question)["documents"]
        return found

    def places(documents: list[Any]) -> list[int]:
        return [int(one.id) for one in documents]

    return {
        "dense": lambda question: places(near(question)),
        "BM25": lambda question: places(worded(question)),
        "hybrid": lambda question: places(
            joiner.run(documents=[worded(question), near(question)])["documents"]
        ),
    }


Index = Callable[[list[str]], Any]


def txtai_dense(model: str) -> Index:
    """Index texts with txtai."""
    from txtai import Embeddings

    embeddings = Embeddings(path=model)
    return lambda texts: embeddings.index(enumerate(texts))


def langchain_dense(model: str) -> Index:
    """Index texts with LangChain and FAISS."""
    from langchain_community.vectorstores import FAISS
    from langchain_huggingface import HuggingFaceEmbeddings

    embeddings = HuggingFaceEmbeddings(model_name=model)
    return lambda texts: FAISS.from_texts(texts, embeddings)


def llama_index_dense(model: str) -> Index:
    """Index texts with LlamaIndex."""
    from llama_index.core import VectorStoreIndex
    from llama_index.core.schema import TextNode
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding

    embeddings = HuggingFaceEmbedding(model_name=model)
    return lambda texts: VectorStoreIndex(
        [TextNode(text=text) for text in texts], embed_model=embeddings
    )


def haystack_dense(model: str) -> Index:
    """Index texts with Haystack: a pipeline of the embedder and the writer of a store."""
    from haystack import Document, Pipeline
    from haystack.components.writers import DocumentWriter
    from haystack.document_stores.in_memory import InMemoryDocumentStore
    from haystack_integrations.components.embedders.sentence_transformers import (
        SentenceTransformersDocumentEmbedder,
    )

    pipeline = Pipeline()
    pipeline.add_component(
        "embedder", SentenceTransformersDocumentEmbedder(model=model, progress_bar=False)
    )
    pipeline.add_component("writer", DocumentWriter(document_store=InMemoryDocumentStore()))
    pipeline.connect("embedder.documents", "writer.documents")
    pipeline.warm_up()
    return lambda texts: pipeline.run(
        {"embedder": {"documents": [Document(content=text) for text in texts]}}
    )


def indexers(model: str) -> Iterator[tuple[str, Index]]:
    """What indexes texts by their embeddings, of the libraries that are here; models loaded.

    The same texts are indexed again only by another one: some keep what they have.
    """
    from importlib.util import find_spec

    for name, package, make in (
        ("txtai", "txtai", txtai_dense),
        ("LangChain", "langchain_community", langchain_dense),
        ("LlamaIndex", "llama_index", llama_index_dense),
        ("Haystack", "haystack_integrations", haystack_dense),
    ):
        if find_spec(package):
            yield name, make(model)


def installed() -> Iterator[tuple[str, Callable[[list[str], str], Searchers]]]:
    """The libraries that are here."""
    from importlib.util import find_spec

    for make in (txtai, langchain, llama_index, haystack):
        if find_spec({"langchain": "langchain_community"}.get(make.__name__, make.__name__)):
            yield make.__name__, make
