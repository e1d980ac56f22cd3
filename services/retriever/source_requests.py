"""What callers say about sources, checked: every violation of a request is found, and named by its field."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from corella.v1 import retriever_pb2, source_pb2
from services.chassis.errors import InvalidArgument, Violation
from services.retriever import requests
from services.retriever.names import is_corpus_id
from services.retriever.secret_files import SECRET_NAME
from services.retriever.source_domain import DEFAULT_LOSS_LIMIT, PlaceRecord, SourceSpec

MIN_INTERVAL_SECONDS = 10.0
MAX_INTERVAL_SECONDS = 366 * 86_400.0
MAX_PATTERNS = 100
MAX_PATTERN_CHARS = 500
MAX_KEYS = 100
MAX_JQL_CHARS = 4_000
MAX_URL_CHARS = 2_000
DEFAULT_DEPTH, MAX_DEPTH = 3, 20
DEFAULT_PAGES, MAX_PAGES = 1_000, 100_000
PLACES = ("directory", "web", "jira", "confluence")
_FIELDS = {
    "display_name": "display_name",
    "sync_interval": "interval_seconds",
    "loss_limit": "loss_limit",
    "default_access": "default_access",
}
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_~-]{0,254}|~[A-Za-z0-9:._-]{1,254}")
"""Keys of Jira's projects and Confluence's spaces; personal spaces begin with `~`. Nothing that could end a quoted word of JQL."""


def source_of(name: str, field: str = "name") -> tuple[str, str]:
    """Ids of corpus and source in `corpora/{corpus}/sources/{source}`. Raises `InvalidArgument` naming the field."""
    parts = name.split("/")
    if len(parts) != 4 or parts[::2] != ["corpora", "sources"] or not is_corpus_id(parts[1]) or not is_corpus_id(parts[3]):
        raise InvalidArgument.of([(field, "must be `corpora/{corpus}/sources/{source}`")])
    return parts[1], parts[3]


def create_source(request: source_pb2.CreateSourceRequest) -> SourceSpec:
    """The source to be made."""
    violations = requests.request_id(request.request_id)
    if not is_corpus_id(request.source_id):
        violations.append(("source_id", "must be 1 to 40 of a-z, 0-9 and -, begin with a letter and not end with -"))
    spec = _spec(request.source, violations, None)
    requests.check(violations)
    return spec


def update_source(request: source_pb2.UpdateSourceRequest) -> tuple[SourceSpec, frozenset[str]]:
    """The new values, and which fields of a spec they are for."""
    violations = requests.request_id(request.request_id)
    paths = list(request.update_mask.paths)
    if not paths:
        violations.append(("update_mask", "must name the fields to change"))
    kind = request.source.WhichOneof("place")
    for path in paths:
        if path in PLACES and path != kind:
            violations.append((f"source.{path}", "is named in update_mask and not there"))
        elif path not in PLACES and path not in _FIELDS:
            known = ", ".join([*_FIELDS, *PLACES])
            violations.append(("update_mask", f"`{path[:80]}` cannot be changed; these can: {known}"))
    spec = _spec(request.source, violations, paths)
    requests.check(violations)
    return spec, frozenset("place" if path in PLACES else _FIELDS[path] for path in paths)


def _spec(source: source_pb2.Source, violations: list[Violation], paths: Sequence[str] | None) -> SourceSpec:
    """`paths`: only these are looked at; None: all."""
    if len(source.display_name) > 200:
        violations.append(("source.display_name", "must have at most 200 characters"))
    interval = source.sync_interval.ToNanoseconds() / 1e9
    if interval and not MIN_INTERVAL_SECONDS <= interval <= MAX_INTERVAL_SECONDS:
        violations.append(("source.sync_interval", "must be 0 (never by itself), or 10 s to 366 days"))
    limit = source.loss_limit if source.HasField("loss_limit") else DEFAULT_LOSS_LIMIT
    if not 0.0 <= limit <= 1.0:
        violations.append(("source.loss_limit", "must be 0 to 1"))
    access = None
    if source.HasField("default_access") and source.default_access.level != retriever_pb2.ACCESS_LEVEL_UNSPECIFIED:
        violations += requests.access_violations(source.default_access, "source.default_access")
        access = requests.access_of(source.default_access)
    kind = source.WhichOneof("place")
    place = PlaceRecord("", {})
    if kind is None:
        if paths is None:
            violations.append(("source.place", f"is required: one of {', '.join(PLACES)}"))
    elif paths is None or kind in paths:
        place = PlaceRecord(kind, _CHECKS[kind](getattr(source, kind), f"source.{kind}", violations))
    return SourceSpec(place, source.display_name, interval, limit, access)


def _directory(place: retriever_pb2.DirectorySource, field: str, violations: list[Violation]) -> dict[str, Any]:
    if not place.path.startswith("/") or "\0" in place.path or len(place.path) > 4_000:
        violations.append((f"{field}.path", "must be an absolute path"))
    if place.base_uri:
        _url(place.base_uri, f"{field}.base_uri", violations)
    return {"path": place.path, **_patterns(place, field, violations), "base_uri": place.base_uri}


def _web(place: source_pb2.WebSource, field: str, violations: list[Violation]) -> dict[str, Any]:
    _url(place.start_url, f"{field}.start_url", violations)
    depth = place.max_depth if place.HasField("max_depth") else DEFAULT_DEPTH
    if not 0 <= depth <= MAX_DEPTH:
        violations.append((f"{field}.max_depth", f"must be 0 to {MAX_DEPTH}"))
    if not 0 <= place.max_pages <= MAX_PAGES:
        violations.append((f"{field}.max_pages", f"must be 0 (the default) to {MAX_PAGES:,}"))
    if len(place.hosts) > MAX_KEYS:
        violations.append((f"{field}.hosts", f"must have at most {MAX_KEYS} entries"))
    for index, host in enumerate(place.hosts[:MAX_KEYS]):
        if not re.fullmatch(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?", host):
            violations.append((f"{field}.hosts[{index}]", "must be a host, or host:port"))
    pages = place.max_pages or DEFAULT_PAGES
    return {
        "start_url": place.start_url,
        "max_depth": depth,
        "max_pages": pages,
        "hosts": list(place.hosts),
        **_patterns(place, field, violations),
    }


def _jira(place: source_pb2.JiraSource, field: str, violations: list[Violation]) -> dict[str, Any]:
    if place.api_version not in (0, 2, 3):
        violations.append((f"{field}.api_version", "must be 2 or 3"))
    if len(place.jql) > MAX_JQL_CHARS:
        violations.append((f"{field}.jql", f"must have at most {MAX_JQL_CHARS:,} characters"))
    keys = _keys(place.project_keys, f"{field}.project_keys", violations)
    account = _account(place, field, violations)
    return {**account, "project_keys": keys, "jql": place.jql, "api_version": place.api_version or 3}


def _confluence(place: source_pb2.ConfluenceSource, field: str, violations: list[Violation]) -> dict[str, Any]:
    keys = _keys(place.space_keys, f"{field}.space_keys", violations)
    return {**_account(place, field, violations), "space_keys": keys}


def _account(place: source_pb2.JiraSource | source_pb2.ConfluenceSource, field: str, violations: list[Violation]) -> dict[str, Any]:
    _url(place.base_url, f"{field}.base_url", violations)
    if len(place.user) > 320 or not place.user.isprintable() or ":" in place.user:
        violations.append((f"{field}.user", "must be an e-mail address"))
    if not SECRET_NAME.fullmatch(place.token.name):
        violations.append((f"{field}.token.name", "must be the plain name of a file in the deployment's folder of secrets"))
    return {
        "base_url": place.base_url,
        "user": place.user,
        "token": place.token.name,
        "include_attachments": place.include_attachments,
    }


def _keys(keys: Sequence[str], field: str, violations: list[Violation]) -> list[str]:
    if not 1 <= len(keys) <= MAX_KEYS:
        violations.append((field, f"must hold 1 to {MAX_KEYS} keys"))
    for index, key in enumerate(keys[:MAX_KEYS]):
        if not _KEY.fullmatch(key):
            violations.append((f"{field}[{index}]", "is not a key"))
    return list(keys)


def _patterns(place: Any, field: str, violations: list[Violation]) -> dict[str, Any]:
    for name in ("include", "exclude"):
        patterns = getattr(place, name)
        if len(patterns) > MAX_PATTERNS:
            violations.append((f"{field}.{name}", f"must have at most {MAX_PATTERNS} patterns"))
        for index, pattern in enumerate(patterns[:MAX_PATTERNS]):
            if not pattern or len(pattern) > MAX_PATTERN_CHARS:
                violations.append((f"{field}.{name}[{index}]", f"must have 1 to {MAX_PATTERN_CHARS} characters"))
    return {"include": list(place.include), "exclude": list(place.exclude)}


def _url(url: str, field: str, violations: list[Violation]) -> None:
    text = f"must be an http or https URL of at most {MAX_URL_CHARS:,} characters, without blanks, user name or password"
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None and parts.password is None
        _ = parts.port
    except ValueError:
        fine = False
    if not fine or len(url) > MAX_URL_CHARS or any(ord(character) <= 32 for character in url):
        violations.append((field, text))


_CHECKS: dict[str, Any] = {"directory": _directory, "web": _web, "jira": _jira, "confluence": _confluence}
