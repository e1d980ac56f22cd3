"""Users and groups as Atlassian names them, as names that access lists know. Pure.

A user is known by account id and, where the account shows it, by e-mail address, as written and in lower case: whichever of them a
caller's token carries.
"""

from __future__ import annotations

from typing import Any

from services.retriever.connectors.json_values import text


def user_names(user: Any) -> frozenset[str]:
    """The names of one user; empty for what is none."""
    if not isinstance(user, dict) or user.get("active") is False:
        return frozenset()
    email = text(user, "emailAddress") or text(user, "email")
    names = {text(user, "accountId"), email, email.lower()}
    return frozenset(name for name in names if _usable(name))


def group_names(group: Any) -> frozenset[str]:
    """The name of one group; empty for what is none."""
    name = text(group, "name")
    return frozenset([name] if _usable(name) else [])


def _usable(name: str) -> bool:
    return bool(name.strip()) and len(name) <= 320 and name.isprintable()
