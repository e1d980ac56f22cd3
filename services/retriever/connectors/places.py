"""What a connector has to know of its place, as a source states it; secrets are there, and never shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class Secret:
    """A secret that does not show itself in a log, an error or a debugger."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value.strip()

    def reveal(self) -> str:
        """The secret itself, to be put into a header and nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not serialised")


@dataclass(frozen=True)
class DirectoryPlace:
    """A directory on this machine's disk."""

    path: str
    """Absolute, below one of the deployment's import roots."""
    include: tuple[str, ...] = ()
    """Patterns as of `PurePath.match`; a file must match one. Empty: every file of a known type."""
    exclude: tuple[str, ...] = ()
    base_uri: str = ""
    """Prefix of the documents' URIs in place of `file://…`."""


@dataclass(frozen=True)
class WebPlace:
    """Web pages, from a start page or a sitemap."""

    start_url: str
    max_depth: int = 3
    """Links followed from the start page. Without effect on the pages of a sitemap."""
    max_pages: int = 1000
    hosts: tuple[str, ...] = ()
    """Other hosts (`docs.example.com`, `docs.example.com:8443`) whose pages belong to the place."""
    include: tuple[str, ...] = ()
    """Patterns of URL paths as of `fnmatch`; a page must match one. Empty: all."""
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class JiraPlace:
    """Issues of some projects of Jira Cloud."""

    base_url: str
    project_keys: tuple[str, ...]
    token: Secret
    user: str = ""
    """E-mail address of the token's account. Empty: the token is a bearer token."""
    jql: str = ""
    """Further condition."""
    api_version: int = 3
    include_attachments: bool = False


@dataclass(frozen=True)
class ConfluencePlace:
    """Pages of some spaces of Confluence Cloud."""

    base_url: str
    """With the path of the product: `https://example.atlassian.net/wiki`."""
    space_keys: tuple[str, ...]
    token: Secret
    user: str = ""
    include_attachments: bool = False


Place = DirectoryPlace | WebPlace | JiraPlace | ConfluencePlace


@dataclass(frozen=True)
class ConnectorSettings:
    """What the deployment says about reading places."""

    import_roots: tuple[Path, ...] = ()
    """Directories below which directories may be read."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts that may be reached although they are not on the public internet: `intranet.example`, or with a port."""
    document_max_bytes: int = 50 << 20
