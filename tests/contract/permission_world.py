"""A small world of tenants, corpora, documents and people, and, kept beside the retriever in plain tables, who may read what of it.

`World` changes both in the same way; what the tables say is the truth that searches are compared with. The tables know nothing of how
the retriever does it: no numbers for accesses, no expressions, no indexes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from retriever_in_process import Retriever

from services.chassis.identity import Caller
from services.retriever.access import EVERYONE, NOBODY, Access, AccessLevel
from services.retriever.domain import Condition, DocumentNotFound, EmbeddingMode
from services.retriever.names import document_id
from services.retriever.tenancy import inner

WORDS = [f"{first}{last}" for first in ("fal", "tor", "mun", "bel") for last in ("kon", "rix", "dam")]
TENANTS = ("default", "acme", "zenith")
KINDS = ("manual", "ticket", "memo")


@dataclass
class Told:
    """A document as the tables have it."""

    uri: str
    sections: tuple[frozenset[str], ...]
    """The words of each chunk of the version that answers."""
    kind: str
    access: Access
    rows: Access
    """Whom the version that answers admits, while a newer one waits."""
    waiting: tuple[tuple[frozenset[str], ...], str] | None = None
    """Words and kind of a newer version that no worker has taken yet."""
    answers: bool = True

    @property
    def newest_kind(self) -> str:
        return self.waiting[1] if self.waiting else self.kind


@dataclass
class Place:
    """A corpus."""

    tenant: str
    corpus: str
    lazy: bool
    told: dict[str, Told] = field(default_factory=dict)

    @property
    def inner(self) -> str:
        return inner(self.tenant, self.corpus)


def admits(access: Access, caller: Caller) -> bool:
    """Whether the caller may read: the rule in one line, written a second time."""
    if access.level is AccessLevel.NOBODY:
        return False
    return (
        access.level is AccessLevel.TENANT or caller.reads_everything or caller.user in access.users or bool(caller.groups & access.groups)
    )


class World:
    """Changes the retriever and the tables alike."""

    def __init__(self, retriever: Retriever, seed: int) -> None:
        self.retriever = retriever
        self.random = random.Random(seed)
        self.places: list[Place] = []
        self.groups = [f"group {number}" for number in range(200)]
        self.users = [f"user{number}@example.com" for number in range(40)]
        self._count = 0

    async def build(self, documents: int) -> None:
        """Two corpora for each tenant, one of them lazy, named alike everywhere."""
        for tenant in TENANTS:
            for corpus, lazy in (("books", False), ("new-books", True)):
                place = Place(tenant, corpus, lazy)
                await self.retriever.create(place.inner, EmbeddingMode.LAZY if lazy else EmbeddingMode.EAGER)
                self.places.append(place)
                for _ in range(documents):
                    await self.add(place)
        await self.work()

    def caller(self, tenant: str) -> Caller:
        """Somebody of a tenant: mostly with a few groups, some with none, some without a name, a few with more rights."""
        pick = self.random
        groups = frozenset(pick.sample(self.groups, pick.choice((0, 1, 3, 10, 60))))
        user = pick.choice(["", *self.users])
        roles = frozenset({pick.choice(("reader", "reader", "writer", "admin"))})
        return Caller(user or "nobody", tenant, user, groups, roles, reads_everything=pick.random() < 0.05)

    def access(self) -> Access:
        """Anything a document may have."""
        pick = self.random
        kind = pick.random()
        if kind < 0.15:
            return EVERYONE
        if kind < 0.25:
            return NOBODY
        return Access.listed(pick.sample(self.users, pick.choice((0, 0, 1, 3))), pick.sample(self.groups, pick.choice((1, 2, 8, 40))))

    async def add(self, place: Place) -> None:
        """A new document, which waits for the worker."""
        self._count += 1
        uri = f"https://{place.tenant}.example.com/{self._count}.md"
        access = self.random.choice([None, self.access(), self.access(), self.access()])
        sections, kind = self._sections(), self.random.choice(KINDS)
        await self._hand_in(place, uri, sections, kind, access)
        place.told[uri] = Told(uri, (), kind, access or EVERYONE, access or EVERYONE, (sections, kind), answers=False)

    async def replace(self, place: Place, told: Told) -> None:
        """Another version, with other readers or with the same."""
        access = self.random.choice([None, self.access()])
        sections, kind = self._sections(), self.random.choice(KINDS)
        await self._hand_in(place, told.uri, sections, kind, access)
        told.access = access or told.access
        told.rows = _meet(told.rows, told.access) if told.answers else told.access
        told.waiting = (sections, kind)

    async def hand_in_again(self, place: Place, told: Told) -> None:
        """The same version with other readers."""
        access = self.access()
        sections, kind = told.waiting or (told.sections, told.kind)
        await self._hand_in(place, told.uri, sections, kind, access)
        told.access = access
        told.rows = _meet(told.rows, access) if told.waiting and told.answers else access

    async def regrant(self, place: Place, told: Told) -> None:
        """Other readers: more, fewer, others."""
        access = self.access()
        admin = Caller("administrator", place.tenant, roles=frozenset({"admin"}))
        await self.retriever.documents.update_access(admin, place.inner, document_id(told.uri), access, "")
        told.access = told.rows = access

    async def delete(self, place: Place, told: Told) -> None:
        """Deletes; sometimes as somebody who may not read it, for whom there is nothing to delete."""
        caller = self.caller(place.tenant)
        allowed = "admin" in caller.roles or admits(told.access, caller)
        try:
            await self.retriever.documents.delete(place.inner, document_id(told.uri), allow_missing=False, request_id="", caller=caller)
        except DocumentNotFound:
            assert not allowed
            return
        assert allowed
        del place.told[told.uri]

    async def work(self) -> None:
        """The worker takes everything that waits."""
        await self.retriever.work()
        for place in self.places:
            for told in place.told.values():
                if told.waiting:
                    told.sections, told.kind = told.waiting
                    told.waiting, told.answers, told.rows = None, True, told.access

    async def change(self) -> None:
        """Something happens somewhere."""
        place = self.random.choice(self.places)
        there = list(place.told.values())
        if len(there) < 4:
            await self.add(place)
            return
        happens = self.random.choices((self.regrant, self.delete, self.replace, self.hand_in_again, None), weights=(6, 2, 2, 2, 2))[0]
        await (happens(place, self.random.choice(there)) if happens else self.add(place))

    def condition(self) -> tuple[Condition, ...]:
        """Mostly none."""
        pick = self.random
        if pick.random() < 0.6:
            return ()
        return (Condition("kind", tuple(pick.sample(KINDS, pick.choice((0, 1, 2)))), negate=pick.random() < 0.3),)

    def _sections(self) -> tuple[frozenset[str], ...]:
        return tuple(frozenset(self.random.sample(WORDS, 3)) for _ in range(self.random.choice((1, 1, 2, 3))))

    async def _hand_in(self, place: Place, uri: str, sections: tuple[frozenset[str], ...], kind: str, access: Access | None) -> None:
        text = "".join(f"\n\n## Part {number}\n\n{' '.join(sorted(words))}" for number, words in enumerate(sections))
        await self.retriever.hand_in(place.inner, (uri, text, access), metadata={"kind": kind})


def _meet(one: Access, other: Access) -> Access:
    """Whom both admit, as lists can say it."""
    if one.level is AccessLevel.TENANT:
        return other
    if other.level is AccessLevel.TENANT:
        return one
    if NOBODY in (one, other):
        return NOBODY
    users, groups = one.users & other.users, one.groups & other.groups
    return Access.listed(users, groups) if users or groups else NOBODY


def fulfils(kind: str, conditions: tuple[Condition, ...]) -> bool:
    """Whether a document of this kind fulfils the conditions; every document has a kind."""
    return all((not each.any_of or kind in each.any_of) != each.negate for each in conditions)
