"""Options that all kinds of sources share, and what they become."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corella.cli.failures import USAGE, UserError

if TYPE_CHECKING:
    from google.protobuf import duration_pb2

    from corella.v1 import retriever_pb2, source_pb2

SourceArgument = Annotated[str, typer.Argument(help="Id of the source, or its name (corpora/…/sources/…).")]
NewSourceArgument = Annotated[str, typer.Argument(help="Id for the source: 1 to 40 of a-z, 0-9 and -, beginning with a letter.")]

_EVERY_HELP = "How often to read it: 30s, 15m, 6h, 1d; 10s at least. Default: only when asked."
Every = Annotated[str, typer.Option("--every", help=_EVERY_HELP)]
DisplayName = Annotated[str, typer.Option("--name", help="For people.")]
LossLimit = Annotated[float | None, typer.Option(min=0, max=1, help="Largest share of its documents removed without asking. Default: 0.2.")]
Groups = Annotated[list[str] | None, typer.Option("--group", help="May read what the place says nothing about. May be repeated.")]
Users = Annotated[list[str] | None, typer.Option("--user", help="As --group, for one person.")]
Nobody = Annotated[bool, typer.Option("--nobody", help="Nobody may read what the place says nothing about.")]
Paused = Annotated[bool, typer.Option("--paused", help="Create it without reading it.")]
Wait = Annotated[
    bool | None, typer.Option("--wait/--no-wait", help="Wait until answers are current. Default: in a terminal.", show_default=False)
]
Include = Annotated[list[str] | None, typer.Option("--include", help="Read only what matches this pattern. May be repeated.")]
Exclude = Annotated[list[str] | None, typer.Option("--exclude", help="Leave out what matches this pattern. May be repeated.")]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def interval(text: str) -> duration_pb2.Duration:
    """`15m` as a duration; `never` is none. Raises `UserError`."""
    from google.protobuf import duration_pb2

    if text == "never":
        return duration_pb2.Duration()
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text.strip().lower())
    if found is None:
        raise UserError(f"--every takes a number with s, m, h or d, as 15m, or never; not {text!r}.", exit_code=USAGE)
    return duration_pb2.Duration(seconds=int(found[1]) * _UNITS[found[2]])


def interval_text(seconds: float) -> str:
    """A duration as `--every` takes it."""
    for unit, size in reversed(_UNITS.items()):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:g}s" if seconds else ""


def access(groups: list[str] | None, users: list[str] | None, nobody: bool) -> retriever_pb2.Access | None:
    """Who may read what a place says nothing about; None when nothing was said. Raises `UserError`."""
    from corella.v1 import retriever_pb2

    if nobody and (groups or users):
        raise UserError("--nobody goes with neither --group nor --user.", exit_code=USAGE)
    if nobody:
        return retriever_pb2.Access(level=retriever_pb2.ACCESS_LEVEL_NOBODY)
    if groups or users:
        return retriever_pb2.Access(level=retriever_pb2.ACCESS_LEVEL_LISTED, groups=groups or (), users=users or ())
    return None


def source_message(
    place: Any, *, name: str, every: str, loss_limit: float | None, default_access: retriever_pb2.Access | None
) -> source_pb2.Source:
    """A source as it is to be created; `place` is one of the contract's messages for places."""
    from corella.v1 import retriever_pb2, source_pb2

    source = source_pb2.Source(display_name=name, loss_limit=loss_limit, default_access=default_access)
    kinds = {
        retriever_pb2.DirectorySource: "directory", source_pb2.WebSource: "web", source_pb2.JiraSource: "jira",
        source_pb2.ConfluenceSource: "confluence",
    }  # fmt: skip
    getattr(source, kinds[type(place)]).CopyFrom(place)
    if every:
        source.sync_interval.CopyFrom(interval(every))
    return source


def full_name(corpus: str, source: str) -> str:
    """The resource name of a source given by its id or its name."""
    from corella.client import corpus_name

    return source if source.startswith("corpora/") else f"{corpus_name(corpus)}/sources/{source}"
