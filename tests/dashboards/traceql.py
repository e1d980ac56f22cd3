"""A small reader of TraceQL: which attributes a query asks for. Enough for spansets, comparisons and structural operators.

Grammar: https://grafana.com/docs/tempo/latest/traceql/construct-traceql-queries/
"""

from __future__ import annotations

import re

_INTRINSICS = {"name", "status", "statusMessage", "duration", "kind", "rootName", "rootServiceName", "traceDuration"}
_VALUES = {"nil", "true", "false", "ok", "error", "unset", "server", "client", "producer", "consumer", "internal", "unspecified"}
_TOKEN = re.compile(
    r'\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<number>\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h)?)|(?P<operator>&&|\|\||>>|<<|=~|!~|!=|>=|<=|[{}()=<>~|])'
    r"|(?P<word>(?:(?:resource|span|event|link|instrumentation)?\.)?[A-Za-z_][\w./-]*))"
)


def attributes(query: str) -> set[tuple[str, str]]:
    """(scope, name) of every attribute asked for; the scope is `resource`, `span`, … or empty for any.

    Raises ValueError for what it cannot read.
    """
    found: set[tuple[str, str]] = set()
    at, depth = 0, 0
    while query[at:].strip():
        token = _TOKEN.match(query, at)
        if token is None:
            raise ValueError(f"not TraceQL at {query[at:]!r}")
        at = token.end()
        if token["operator"] == "{":
            depth += 1
        elif token["operator"] == "}":
            depth -= 1
        word = token["word"]
        if word is None or word in _INTRINSICS or word in _VALUES:
            continue
        scope, dot, name = word.partition(".")
        if not dot or scope not in {"", "resource", "span", "event", "link", "instrumentation"} or depth != 1:
            raise ValueError(f"{word!r} is no attribute: it needs a scope, such as span.{word}")
        found.add((scope, name))
    if depth:
        raise ValueError("a brace is not closed")
    return found
