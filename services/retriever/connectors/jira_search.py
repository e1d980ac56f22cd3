"""Searches issues page by page: with `search/jql` and its page tokens, or with the older `search` where the new one is not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from services.retriever.connectors.atlassian_api import AtlassianApi, checked
from services.retriever.connectors.connector import PlaceUnreachable
from services.retriever.connectors.json_values import Object, at, number, objects, text

_GONE = (404, 405, 410)
MAX_PAGES = 20_000


class Shifted(PlaceUnreachable):
    """The result changed while it was read by positions, so something may have been passed over."""


class JiraSearch:
    """Searches of one visit."""

    def __init__(self, api: AtlassianApi, version: int) -> None:
        self._api = api
        self._root = f"/rest/api/{version}"
        self._by_token = True

    async def issues(self, jql: str, fields: Sequence[str], page_size: int) -> AsyncGenerator[Object]:
        """Every issue that matches. Raises `Shifted`, `PlaceRefused` for JQL that the server does not take, and `SafeHttp`'s errors."""
        params = {"jql": jql, "fields": ",".join(fields), "maxResults": str(page_size)}
        if self._by_token:
            answer = await self._api.ask(f"{self._root}/search/jql", params)
            if answer.code not in _GONE:
                page = await asyncio.to_thread(checked(answer).json)
                for _ in range(MAX_PAGES):
                    for issue in objects(page, "issues"):
                        yield issue
                    token = text(page, "nextPageToken")
                    if not token or at(page, "isLast") is True:
                        return
                    page = await self._api.get(f"{self._root}/search/jql", {**params, "nextPageToken": token})
                raise PlaceUnreachable("The search of issues does not come to an end.")
            self._by_token = False
        async for issue in self._by_position(params):
            yield issue

    async def _by_position(self, params: dict[str, str]) -> AsyncGenerator[Object]:
        place, total = 0, None
        while True:
            page = await self._api.get(f"{self._root}/search", {**params, "startAt": str(place)})
            said = number(page, "total") or 0
            if total not in (None, said):
                raise Shifted("Issues came or went while they were listed.")
            total = said
            issues = objects(page, "issues")
            for issue in issues:
                yield issue
            place += len(issues)
            if place >= total:
                return
            if not issues:
                raise Shifted("Fewer issues were listed than there are said to be.")
