"""Which corpora a tenant has, and what they are called inside: the one place that puts a tenant into a name and takes it out. Pure.

    tenant `default`, corpus `handbook`    inside `handbook`
    tenant `acme`,    corpus `handbook`    inside `acme.handbook`

The inner id names everything that is kept of a corpus: its collection, its keys in the catalog, its bytes. So what belongs to another
tenant cannot be named by mistake. No tenant and no corpus has a `.` in its name, so the form can always be taken apart. The wire never
shows a tenant: names are made with `shown`.
"""

from __future__ import annotations

from services.chassis.identity import DEFAULT_TENANT, Caller

_CORPORA = "corpora/"


def inner(tenant: str, corpus_id: str) -> str:
    """The inner id of a tenant's corpus."""
    return corpus_id if tenant == DEFAULT_TENANT else f"{tenant}.{corpus_id}"


def tenant_of(inner_id: str) -> str:
    """The tenant a corpus belongs to."""
    return inner_id.rpartition(".")[0] or DEFAULT_TENANT


def shown(inner_id: str) -> str:
    """The id as the tenant knows it. An id without a tenant stays as it is."""
    return inner_id.rpartition(".")[2]


def shown_name(name: str) -> str:
    """A resource name `corpora/{inner id}…` as the tenant knows it; anything else stays as it is."""
    if not name.startswith(_CORPORA):
        return name
    corpus_id, slash, rest = name.removeprefix(_CORPORA).partition("/")
    return f"{_CORPORA}{shown(corpus_id)}{slash}{rest}"


def inner_name(tenant: str, name: str) -> str:
    """A resource name `corpora/{corpus}…` with the inner id in place of the corpus's; anything else stays as it is."""
    if not name.startswith(_CORPORA):
        return name
    corpus_id, slash, rest = name.removeprefix(_CORPORA).partition("/")
    return f"{_CORPORA}{inner(tenant, corpus_id)}{slash}{rest}"


def owns(caller: Caller, name: str) -> bool:
    """Whether a resource name with an inner id belongs to the caller's tenant."""
    return tenant_of(name.removeprefix(_CORPORA).partition("/")[0]) == caller.tenant
