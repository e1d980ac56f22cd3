"""How a corpus lies in Milvus: collection, alias, fields, indexes, and its settings in the collection's properties.

    corella_a_{corpus}                     alias; what it points to is the corpus
    corella_c_{corpus}_{fp8}_{unique}      collection: one corpus, one embedding model, one creation
    {corpus}                               the inner id (tenancy.py) with `_` for `-` and `X` for `.`: `acmeXhandbook` is the tenant's

A corpus has up to two indexes, each a collection: see reindexing.py. The settings travel with the collection, so that a search needs no
other store. The unique part makes sure that a worker that
outlives the deletion of a corpus cannot write into a new one of the same name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from pymilvus import CollectionSchema, DataType, Function, FunctionType, MilvusClient
from pymilvus.milvus_client.index import IndexParams

from services.retriever.access import access_of
from services.retriever.analysis import ANALYSIS_VERSION, analyse
from services.retriever.domain import Chunk, Corpus, CorpusNeedsReindex, EmbeddingMode, Metric
from services.retriever.filters import LABELS_FIELD, labels

SETTINGS_PROPERTY = "corella.corpus"
ALIAS_PREFIX = "corella_a_"
COLLECTION_PREFIX = "corella_c_"

# Measured: docs/decisions/0005-fusion-default.md. Set here because Milvus and Milvus Lite have different defaults.
BM25_K1 = 1.2
BM25_B = 0.75

MAX_VARCHAR_BYTES = 65_535
LABELS_BYTES = 4_096
ACCESS_FIELD = "access"
"""Number of who may read the chunk (access.py). A scalar with an index: a filter on an array field costs ten times as much."""
CHUNK_FIELDS = [
    "id", "document_id", "generation", "uri", "anchor", "title", "heading_path", "text", "position", "kind", "metadata", "has_vector",
    ACCESS_FIELD,
]  # fmt: skip


def alias_of(corpus_id: str) -> str:
    """The alias of a corpus, by its inner id."""
    return ALIAS_PREFIX + _spelt(corpus_id)


def corpus_in(name: str) -> str:
    """The inner id of the corpus an alias or a collection is named for."""
    if name.startswith(ALIAS_PREFIX):
        spelt = name.removeprefix(ALIAS_PREFIX)
    else:
        spelt = name.removeprefix(COLLECTION_PREFIX).rpartition("_")[0].rpartition("_")[0]
    return spelt.replace("_", "-").replace("X", ".")


def collection_of(corpus_id: str, fingerprint: str, unique: str) -> str:
    """The name of a new collection."""
    return f"{collection_stem(corpus_id)}{hashlib.sha256(fingerprint.encode()).hexdigest()[:8]}_{unique[:8]}"


def collection_stem(corpus_id: str) -> str:
    """How the names of a corpus's collections begin."""
    return f"{COLLECTION_PREFIX}{_spelt(corpus_id)}_"


def is_collection_of(name: str, corpus_id: str) -> bool:
    """Whether a collection is, or was, the corpus's."""
    stem = collection_stem(corpus_id)
    return name.startswith(stem) and len(name) == len(stem) + 17


def _spelt(corpus_id: str) -> str:
    return corpus_id.replace("-", "_").replace(".", "X")


def schema(dimensions: int) -> CollectionSchema:
    """The fields of a collection."""
    made = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    made.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
    made.add_field("document_id", DataType.VARCHAR, max_length=64)
    made.add_field("generation", DataType.VARCHAR, max_length=64)
    for name in ("uri", "title", "anchor", "heading_path", "text", "metadata"):
        made.add_field(name, DataType.VARCHAR, max_length=MAX_VARCHAR_BYTES)
    made.add_field("position", DataType.INT64)
    made.add_field("kind", DataType.VARCHAR, max_length=64)
    made.add_field(LABELS_FIELD, DataType.VARCHAR, max_length=LABELS_BYTES)
    made.add_field(ACCESS_FIELD, DataType.INT64)
    # What BM25 sees is the output of analysis.py. Its terms hold letters and digits only, so that this tokenizer, the same on Milvus
    # and Milvus Lite, merely splits at blanks.
    standard = {"tokenizer": "standard"}
    made.add_field("terms", DataType.VARCHAR, max_length=MAX_VARCHAR_BYTES, enable_analyzer=True, analyzer_params=standard)
    made.add_field("bm25", DataType.SPARSE_FLOAT_VECTOR)
    made.add_field("has_vector", DataType.BOOL)
    made.add_field("vector", DataType.FLOAT_VECTOR, dim=dimensions)
    function = Function(name="bm25", function_type=FunctionType.BM25, input_field_names=["terms"], output_field_names=["bm25"])
    made.add_function(function)
    return made


def indexes(metric: Metric) -> IndexParams:
    """The indexes of a collection."""
    made = MilvusClient.prepare_index_params()
    # M 16 and efConstruction 200: hnswlib's and Milvus's own recommendation for up to a few million vectors.
    made.add_index("vector", index_type="HNSW", metric_type=metric.value, params={"M": 16, "efConstruction": 200})
    bm25 = {"bm25_k1": BM25_K1, "bm25_b": BM25_B}
    made.add_index("bm25", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25", params=bm25)
    for name in ("document_id", "generation", LABELS_FIELD, ACCESS_FIELD):
        made.add_index(name, index_type="INVERTED")
    return made


def settings_text(corpus: Corpus) -> str:
    """The settings of a corpus as kept in the collection's properties."""
    fields = asdict(corpus) | {"metric": corpus.metric.value, "mode": corpus.mode.value, "analysis_version": ANALYSIS_VERSION}
    fields["default_access"] = corpus.default_access.text
    return json.dumps(fields, ensure_ascii=True)


def corpus_of(properties: Mapping[str, Any]) -> Corpus:
    """The corpus whose settings are in these properties. Raises `KeyError` or `ValueError` when there are none.

    Raises `CorpusNeedsReindex` for a corpus whose chunks do not say who may read them.
    """
    fields = json.loads(properties[SETTINGS_PROPERTY])
    analysis_version = fields.pop("analysis_version")
    # What was made before there was a version of the chunker beside it was made by the first one.
    fields.setdefault("made_by", f"1 {analysis_version}")
    if "default_access" not in fields:
        raise CorpusNeedsReindex(fields["id"])
    fields["default_access"] = access_of(fields["default_access"])
    return Corpus(**fields | {"metric": Metric(fields["metric"]), "mode": EmbeddingMode(fields["mode"])})


def index_in(text: str) -> Corpus:
    """The corpus whose settings `settings_text` wrote."""
    return corpus_of({SETTINGS_PROPERTY: text})


def row_of(chunk: Chunk, dimensions: int) -> dict[str, Any]:
    """A chunk as Milvus takes it."""
    headings = " ".join(chunk.heading_path)
    return {
        "id": chunk.id,
        "document_id": chunk.document_id,
        "generation": chunk.generation,
        "uri": chunk.uri,
        "title": chunk.title,
        "anchor": chunk.anchor,
        "heading_path": json.dumps(chunk.heading_path, ensure_ascii=False),
        "text": chunk.text,
        "metadata": json.dumps(dict(chunk.metadata), ensure_ascii=False),
        "position": chunk.index,
        "kind": chunk.kind,
        LABELS_FIELD: labels(chunk.metadata),
        ACCESS_FIELD: chunk.access,
        "terms": _fitting(analyse(f"{chunk.title}\n{headings}\n{chunk.text}")),
        "has_vector": chunk.vector is not None,
        "vector": placeholder(chunk.id, dimensions) if chunk.vector is None else chunk.vector,
    }


def chunk_of(row: Mapping[str, Any]) -> Chunk:
    """A chunk as Milvus gives it; `vector` is set when it was asked for and is there."""
    vector = row.get("vector")
    return Chunk(
        id=row["id"],
        document_id=row["document_id"],
        generation=row["generation"],
        uri=row["uri"],
        anchor=row["anchor"],
        title=row["title"],
        heading_path=tuple(json.loads(row["heading_path"])),
        text=row["text"],
        index=row["position"],
        kind=row["kind"],
        metadata=json.loads(row["metadata"]),
        has_vector=row["has_vector"],
        access=row[ACCESS_FIELD],
        vector=np.asarray(vector, dtype=np.float32) if vector is not None and row["has_vector"] else None,
    )


def placeholder(chunk_id: str, dimensions: int) -> np.ndarray:
    """What stands in the vector field of a chunk that has no vector yet: a random direction that follows from its id.

    Vector search leaves such chunks out by `has_vector`. Milvus has no null vectors in every version we serve; zeros have no cosine, and
    thousands of equal points make an HNSW graph degenerate.
    """
    seed = int.from_bytes(hashlib.sha256(chunk_id.encode()).digest()[:8])
    vector = np.random.default_rng(seed).standard_normal(dimensions, dtype=np.float32)
    return vector / np.float32(np.linalg.norm(vector))


def _fitting(terms: str) -> str:
    encoded = terms.encode()
    if len(encoded) <= MAX_VARCHAR_BYTES:
        return terms
    return encoded[:MAX_VARCHAR_BYTES].decode("utf-8", "ignore").rpartition(" ")[0]


def quoted(values: Sequence[str]) -> str:
    """Ids as a list in an expression. They are hexadecimal; anything else would be a bug here, and is refused."""
    for value in values:
        if not value.isalnum() or not value.isascii():
            raise ValueError(f"not an id: {value!r}")
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"
