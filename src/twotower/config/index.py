"""`[index]`: the section of the nearest-neighbour index."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, model_validator

from twotower.config.section import Section

VECTOR_DATABASES: Final = ("milvus", "pgvector")
"""Kinds of an index whose vectors a database searches."""


class IndexConfig(Section):
    """`[index]`: the nearest-neighbour index of the item vectors."""

    kind: Literal["auto", "exact", "flat", "hnsw", "ivfpq", "pgvector", "milvus"] = "auto"
    """Index type. `auto`: exact search up to `max_exact` items, HNSW beyond, IVF-PQ beyond 2
    million. `pgvector`, `milvus`: in PostgreSQL or Milvus, a table for each version, with HNSW over
    it."""
    uri: str | None = None
    """`pgvector`: `postgresql://USER@HOST/DB`. `milvus`: `http://HOST:19530`, or a file `NAME.db`
    for Milvus Lite. The environment variable TWOTOWER_INDEX_URI comes first: a password is best
    kept there. A bundle never has it."""
    max_exact: int = Field(default=100_000, ge=1)
    """`auto`: largest number of items for exact search."""
    hnsw_m: int = Field(default=32, ge=2)
    """HNSW: number of neighbours per node. More improves recall and costs memory."""
    ef_construction: int = Field(default=200, ge=1)
    """HNSW: number of candidates kept while building."""
    ef_search: int = Field(default=64, ge=1)
    """HNSW: number of candidates kept while searching. More improves recall and is slower."""
    num_lists: int | None = Field(default=None, ge=1)
    """`ivfpq`: number of inverted lists. Default: about 4·sqrt(number of items)."""
    num_probes: int | None = Field(default=None, ge=1)
    """`ivfpq`: number of lists visited per search. More improves recall and is slower. Default: as
    many as find .95 of the nearest 100 items of some users, at least 16; measured when the index is
    built."""
    pq_bytes: int | None = Field(default=None, ge=1)
    """`ivfpq`: bytes per vector; must divide embedding_dim. Default: half of it."""

    @model_validator(mode="after")
    def _has_a_database(self) -> IndexConfig:
        if self.uri is not None and self.kind not in VECTOR_DATABASES:
            raise ValueError(
                f"index.uri is the address of a vector database, and index.kind is {self.kind!r}; "
                f"set index.kind to {' or '.join(map(repr, VECTOR_DATABASES))}, or remove index.uri"
            )
        return self
