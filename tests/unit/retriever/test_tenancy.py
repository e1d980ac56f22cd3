"""A tenant's corpora: what they are called inside, and that the way back is the only one."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.identity import Caller
from services.retriever import domain, milvus_schema, names, tenancy

IDS = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)


@settings(deadline=None)
@given(IDS, IDS)
def test_what_goes_in_comes_out(tenant: str, corpus: str) -> None:
    inner = tenancy.inner(tenant, corpus)
    assert (tenancy.tenant_of(inner), tenancy.shown(inner)) == (tenant, corpus)
    assert tenancy.shown_name(tenancy.inner_name(tenant, f"corpora/{corpus}/documents/x")) == f"corpora/{corpus}/documents/x"


@settings(deadline=None)
@given(st.tuples(IDS, IDS), st.tuples(IDS, IDS))
def test_two_corpora_never_share_a_name_in_milvus(one: tuple[str, str], other: tuple[str, str]) -> None:
    aliases = [milvus_schema.alias_of(tenancy.inner(*each)) for each in (one, other)]
    assert (aliases[0] == aliases[1]) is (one == other)
    collection = milvus_schema.collection_of(tenancy.inner(*one), "model", "0123456789abcdef")
    assert milvus_schema.corpus_in(aliases[0]) == milvus_schema.corpus_in(collection) == tenancy.inner(*one)
    assert milvus_schema.is_collection_of(collection, tenancy.inner(*one))
    assert milvus_schema.is_collection_of(collection, tenancy.inner(*other)) is (one == other)


def test_a_corpus_of_the_default_tenant_keeps_its_name() -> None:
    assert tenancy.inner("default", "hand-book") == "hand-book"
    assert milvus_schema.alias_of("hand-book") == "corella_a_hand_book"
    assert milvus_schema.alias_of("acme.hand-book") == "corella_a_acmeXhand_book"


@pytest.mark.parametrize(("tenant", "corpus"), product(["default", "acme"], ["books"]))
def test_names_and_errors_do_not_show_the_tenant(tenant: str, corpus: str) -> None:
    inner = tenancy.inner(tenant, corpus)
    assert names.document_name(inner, "d") == f"corpora/{corpus}/documents/d"
    for error in (domain.CorpusNotFound(inner), domain.CorpusExists(inner), domain.CorpusNotEmpty(inner), domain.CorpusNeedsReindex(inner)):
        assert "acme" not in f"{error.message} {error.metadata}"


@pytest.mark.parametrize(
    ("target", "owner"),
    [("corpora/books", "default"), ("corpora/acme.books", "acme"), ("corpora/acme.books/sources/wiki", "acme")],
)
def test_an_operation_belongs_to_the_tenant_of_its_corpus(target: str, owner: str) -> None:
    assert [tenancy.owns(Caller("x", tenant), target) for tenant in ("default", "acme", "zenith")] == [
        tenant == owner for tenant in ("default", "acme", "zenith")
    ]
