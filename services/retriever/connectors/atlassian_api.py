"""Asks Atlassian's APIs: one GET with credentials, its JSON, and what the ways of saying no mean."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from services.retriever.connectors.connector import PlaceRefused
from services.retriever.connectors.http_types import Answer, Credentials, origin_of, shown
from services.retriever.connectors.places import Secret
from services.retriever.connectors.safe_http import SafeHttp

MAX_JSON_BYTES = 50 << 20


class AtlassianApi:
    """One site."""

    def __init__(self, http: SafeHttp, base_url: str, user: str, token: Secret) -> None:
        self.base_url = base_url.rstrip("/")
        try:
            self._origin = origin_of(self.base_url)
        except ValueError as exc:
            raise PlaceRefused(f"`{shown(base_url)}` is not the address of a site: {exc}.") from exc
        self._http = http
        secret = token.reveal()
        if not secret or any(not c.isprintable() or not c.isascii() for c in secret) or any(not c.isprintable() for c in user):
            raise PlaceRefused("The secret of the source is empty, or is not one line of plain characters.")
        header = "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode("ascii") if user else f"Bearer {secret}"
        self._credentials = Credentials(header, self._origin)

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """The JSON at a path below the site's address. Raises `PlaceRefused` for 4xx and what is no JSON, and `SafeHttp`'s errors."""
        return await asyncio.to_thread(checked(await self.ask(path, params)).json)

    async def find(self, path: str, params: Mapping[str, str] | None = None, absent: tuple[int, ...] = (404,)) -> Any:
        """The same, but None for what is not there, or may not be seen, by the codes of `absent`."""
        answer = await self.ask(path, params)
        return None if answer.code in absent else await asyncio.to_thread(checked(answer).json)

    async def ask(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        """The answer, whatever it is. `path` may be what the API gave as the next page, as long as it is of the same origin."""
        return await self._http.fetch(
            self._below(path), accept="application/json", credentials=self._credentials, params=params, max_bytes=MAX_JSON_BYTES
        )

    async def download(self, path: str, max_bytes: int) -> Answer:
        """A file. It may lie on another host, to which the credentials do not go along."""
        return checked(await self._http.fetch(self._below(path), credentials=self._credentials, max_bytes=max_bytes))

    def next_page(self, link: str) -> str:
        """A link that the API gave to its next page, as a path for `get`. Raises `PlaceRefused` when it leads away from the site."""
        url = urljoin(self.base_url + "/", link)
        try:
            same = origin_of(url) == self._origin
        except ValueError:
            same = False
        if not same:
            raise PlaceRefused(f"`{shown(self.base_url)}` gave a next page that lies elsewhere.")
        return url

    def _below(self, path: str) -> str:
        return path if urlsplit(path).scheme else self.base_url + path

    async def close(self) -> None:
        """Closes connections."""
        await self._http.aclose()


def checked(answer: Answer) -> Answer:
    """The answer if it is a success. Raises `PlaceRefused`."""
    if answer.code == 200:
        return answer
    where = shown(answer.url)
    if answer.code == 401:
        raise PlaceRefused(f"`{where}` does not accept the user and the secret of the source.", status=answer.code)
    if answer.code == 403:
        raise PlaceRefused(f"`{where}` does not let the account of the source in.", status=answer.code)
    raise PlaceRefused(f"`{where}` cannot be read (status {answer.code}).", status=answer.code)
