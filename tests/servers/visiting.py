"""Visits a place as a sync does, for tests: what was seen, by key, and the visit."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from services.retriever.connectors.connector import Found, Seen, Unchanged, Unreadable, Visit
from services.retriever.connectors.http_types import FetchLimits
from services.retriever.connectors.opening import open_connector
from services.retriever.connectors.places import ConnectorSettings, Place

QUICK = FetchLimits(attempts=2, first_wait_seconds=0.01, most_wait_seconds=0.05, most_asked_wait_seconds=3.0, attempt_seconds=5.0)


@dataclass
class Visited:
    """One visit, and what the next one has to know."""

    visit: Visit
    seen: dict[str, Seen] = field(default_factory=dict)

    @property
    def found(self) -> dict[str, Found]:
        return {key: each for key, each in self.seen.items() if isinstance(each, Found)}

    @property
    def unchanged(self) -> set[str]:
        return {key for key, each in self.seen.items() if isinstance(each, Unchanged)}

    @property
    def unreadable(self) -> dict[str, Unreadable]:
        return {key: each for key, each in self.seen.items() if isinstance(each, Unreadable)}

    @property
    def known(self) -> dict[str, str]:
        """What is known after it, if nothing had been known before but what it says is unchanged."""
        kept = {key: self.visit.known[key] for key in self.seen.keys() & self.visit.known.keys() if key not in self.found}
        return {**kept, **{key: each.version for key, each in self.found.items()}}


async def visited(place: Place, settings: ConnectorSettings, before: Visited | None = None, full: bool = False) -> Visited:
    """Visits, after an earlier visit or for the first time. No key may be seen twice."""
    visit = Visit(before.known if before else {}, before.visit.next_cursor if before else "", full)
    result = Visited(visit)
    connector = open_connector(place, settings, QUICK)
    try:
        async with contextlib.aclosing(connector.seen(visit)) as seen:
            async for each in seen:
                assert each.key not in result.seen, f"{each.key} was seen twice"
                assert not visit.complete
                result.seen[each.key] = each
    finally:
        await connector.close()
    return result
