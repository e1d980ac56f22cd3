"""Resource names as people type and read them: the id alone, and `default/3` for a version of an adapter."""

from __future__ import annotations

from corella.cli.failures import USAGE, UserError

BASE = "base"
"""What people call the base model where an adapter could stand."""


def full(collection: str, name: str) -> str:
    """The resource name of something given by its id or its name: `full("jobs", "7")` is `jobs/7`."""
    return name if name.startswith(f"{collection}/") else f"{collection}/{name}"


def short(name: str) -> str:
    """The id alone: `jobs/7` becomes `7`, and an adapter's version `default/3`."""
    parts = name.split("/")
    return f"{parts[1]}/{parts[3]}" if len(parts) == 4 and parts[2] == "versions" else name.partition("/")[2] or name


def served(adapter: str) -> str:
    """What serves, for people: `default/3`, or `base` for the empty name of the base model."""
    return short(adapter) if adapter else BASE


def adapter_version(name: str) -> str:
    """The resource name of a version given as `default/3` or in full. Raises `UserError` for anything else."""
    parts = name.split("/")
    if len(parts) == 4 and (parts[0], parts[2]) == ("adapters", "versions") and all(parts):
        return name
    if len(parts) == 2 and all(parts) and parts[0] != "adapters":
        return f"adapters/{parts[0]}/versions/{parts[1]}"
    raise UserError(
        f"{name!r} is no version of an adapter; write it as adapter/version.",
        hint="`corella adapters list` shows what there is.",
        exit_code=USAGE,
    )
