"""Bearer tokens of services and scripts, known by their hashes, one a line of a file:

    name:sha256-of-token [tenant=…] [user=…] [groups=a,b] [roles=a,b] [reads=everything]

Only hashes are kept, so the file gives nobody access. Comparison takes the same time wherever two hashes differ. Without `roles=`:

    a bare line                 every role, `service` included; reads everything: what such a line could do before there were roles
    with `tenant=` only         every role but `service`; reads everything of that tenant
    with `user=` or `groups=`   `reader`; reads what that user or those groups may
"""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

from services.chassis.acting import is_name
from services.chassis.identity import DEFAULT_TENANT, TENANT_ID, Caller
from services.chassis.roles import ALL_ROLES, Role
from services.chassis.watched_files import FilesRefused, WatchedFiles, read_text

_LINE = re.compile(r"(?P<name>.+?):(?P<digest>[0-9a-fA-F]{64})(?P<rest>(?:\s+\S+)*)")
_FIELDS = ("tenant", "user", "groups", "roles", "reads")


class TokensFile:
    """The callers of one file, as it is now. A changed file that is not whole is said in the log, and the callers it had stay."""

    def __init__(self, path: Path, *, check_seconds: float = 1.0) -> None:
        """Raises `FilesRefused`, with the number of the line, for a line that is none, and for a file without a token."""
        self._callers = WatchedFiles([path], lambda: _read(path), check_seconds=check_seconds)

    def find(self, token: str) -> Caller | None:
        """Whose token it is; None: not known."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        found = [caller for known, caller in self._callers.current() if hmac.compare_digest(known, digest)]
        return found[0] if found else None


def _read(path: Path) -> list[tuple[str, Caller]]:
    callers: list[tuple[str, Caller]] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            try:
                callers.append(_caller(line.strip()))
            except ValueError as error:
                raise FilesRefused(f"{path}, line {number}: {error}") from None
    if not callers:
        raise FilesRefused(f"{path} holds no token: nobody could call")
    return callers


def _caller(line: str) -> tuple[str, Caller]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError("expected `name:sha256-of-token`, the hash in hexadecimal, then `key=value`")
    given: dict[str, str] = {}
    for part in match["rest"].split():
        key, _, value = part.partition("=")
        if key not in _FIELDS or not value or key in given:
            raise ValueError(f"`{key}` must be one of {', '.join(_FIELDS)}, with a value, once")
        given[key] = value
    tenant, user = given.get("tenant", DEFAULT_TENANT), given.get("user", "")
    groups = frozenset(filter(None, given.get("groups", "").split(",")))
    if "roles" in given:
        roles = frozenset(filter(None, given["roles"].split(",")))
    elif given.keys() & {"user", "groups"}:
        roles = frozenset[str]({Role.READER})
    else:
        roles = ALL_ROLES - {Role.SERVICE} if "tenant" in given else ALL_ROLES
    if not TENANT_ID.fullmatch(tenant):
        raise ValueError("`tenant` must be 1 to 40 of a-z, 0-9 and `-`, a letter first")
    if not roles <= ALL_ROLES:
        raise ValueError(f"`roles` must be among {', '.join(sorted(ALL_ROLES))}")
    if given.get("reads", "everything") != "everything":
        raise ValueError("`reads` can only be `everything`")
    if not all(is_name(each) for each in (*groups, *([user] if user else ()))):
        raise ValueError("`user` and `groups` must be names of at most 256 characters")
    # A line with a person on it is bound by what that person may read.
    everything = "reads" in given or not given.keys() & {"roles", "user", "groups"}
    return match["digest"].lower(), Caller(match["name"], tenant, user, groups, roles, everything)
