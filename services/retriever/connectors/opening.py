"""Opens the connector of a place: which class reads which kind, and what all of them share.

    connector = open_connector(place, settings)
    async with contextlib.aclosing(connector.seen(visit)) as seen: ...
    await connector.close()

It is the only module of this package that callers need, beside `connector` and `places`.
"""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

from services.retriever.connectors.addresses import AllowedHosts
from services.retriever.connectors.atlassian_api import AtlassianApi
from services.retriever.connectors.confluence_connector import ConfluenceConnector
from services.retriever.connectors.connector import Connector, PlaceRefused
from services.retriever.connectors.directory_connector import DirectoryConnector
from services.retriever.connectors.http_types import FetchLimits, origin_of, shown
from services.retriever.connectors.jira_connector import JiraConnector
from services.retriever.connectors.pinned_transport import Resolve, system_resolve
from services.retriever.connectors.places import ConfluencePlace, ConnectorSettings, DirectoryPlace, JiraPlace, Place, WebPlace
from services.retriever.connectors.safe_http import SafeHttp
from services.retriever.connectors.web_connector import WebConnector


def open_connector(
    place: Place,
    settings: ConnectorSettings = ConnectorSettings(),  # noqa: B008 frozen
    limits: FetchLimits | None = None,
    resolve: Resolve = system_resolve,
    tls: ssl.SSLContext | None = None,
) -> Connector:
    """The connector for a place. Nothing is opened or asked before its first `seen`.

    `limits`, `resolve` and `tls` are for tests and for deployments with their own certificates. Raises `PlaceRefused` for a place that
    cannot be read as it is stated.
    """
    if isinstance(place, DirectoryPlace):
        return DirectoryConnector(place, settings)
    if isinstance(place, JiraPlace | ConfluencePlace):
        _no_secret_in_the_clear(place.base_url, settings)
    http = SafeHttp(limits or FetchLimits(max_bytes=settings.document_max_bytes), settings.allowed_hosts, resolve, tls)
    match place:
        case WebPlace():
            return WebConnector(place, http)
        case JiraPlace():
            return JiraConnector(place, AtlassianApi(http, place.base_url, place.user, place.token), settings.document_max_bytes)
        case ConfluencePlace():
            return ConfluenceConnector(place, AtlassianApi(http, place.base_url, place.user, place.token), settings.document_max_bytes)


def _no_secret_in_the_clear(base_url: str, settings: ConnectorSettings) -> None:
    try:
        scheme, host, port = origin_of(base_url)
    except ValueError as exc:
        raise PlaceRefused(f"`{shown(base_url)}` is not the address of a site: {exc}.") from exc
    if scheme != "https" and not AllowedHosts(settings.allowed_hosts).covers(host, port):
        raise PlaceRefused(f"`{shown(base_url)}` is not https, and a secret is not sent in the clear.")
    if urlsplit(base_url).query or urlsplit(base_url).fragment:
        raise PlaceRefused(f"`{shown(base_url)}` must be an address without a query.")
