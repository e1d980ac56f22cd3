"""`corella search`: the passages, and where each came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from corella.cli.context import DEFAULT_CORPUS, CorpusOption, Json, session
from corella.cli.failures import USAGE, UserError

if TYPE_CHECKING:
    from corella.v1 import retriever_pb2

MODES = {"keyword": "SEARCH_MODE_KEYWORD", "vector": "SEARCH_MODE_VECTOR", "hybrid": "SEARCH_MODE_HYBRID"}
FUSIONS = {"overlap": "FUSION_OVERLAP", "rrf": "FUSION_RECIPROCAL_RANK", "weighted": "FUSION_WEIGHTED"}

ModeOption = Annotated[str, typer.Option(help=f"Lists to use: {', '.join(MODES)}. Default: hybrid.", show_default=False)]
FusionOption = Annotated[
    str, typer.Option(help=f"How to fuse them: {', '.join(FUSIONS)}. Default: what measured best.", show_default=False)
]
FilterOption = Annotated[
    list[str] | None,
    typer.Option("--filter", "-f", help="key=value; key!=value; key alone: it is there. Repeat a key for any of its values."),
]


def search(
    ctx: typer.Context,
    query: Annotated[str, typer.Argument(help="The question or keywords.")],
    corpus: CorpusOption = DEFAULT_CORPUS,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="How many passages at most.")] = 10,
    mode: ModeOption = "",
    fusion: FusionOption = "",
    filters: FilterOption = None,
    rerank: Annotated[bool, typer.Option("--rerank", help="Order anew with the cross-encoder, where one is configured.")] = False,
    as_json: Json = False,
) -> None:
    """Find passages, and show which list each came from: kw #3 is third by keywords, vec #1 first by vectors."""
    from corella.cli.output import write_json
    from corella.client import corpus_name
    from corella.v1 import retriever_pb2

    request = retriever_pb2.SearchRequest(
        corpus=corpus_name(corpus), query=query, limit=limit, mode=search_mode(mode), fusion=search_fusion(fusion),
        filter=conditions(filters or []), rerank=rerank,
    )  # fmt: skip
    with session(ctx).client() as corella:
        response = corella.retriever.Search(request)
    if as_json:
        write_json(response)
    else:
        _show(response)


def search_mode(name: str) -> str | None:
    """The contract's word for a mode; None for none. Raises `UserError` for an unknown one."""
    return _one_of(MODES, name, "--mode") if name else None


def search_fusion(name: str) -> str | None:
    """The contract's word for a fusion; None for none. Raises `UserError` for an unknown one."""
    return _one_of(FUSIONS, name, "--fusion") if name else None


def _one_of(known: dict[str, str], name: str, option: str) -> str:
    if name.lower() not in known:
        raise UserError(f"{option} must be one of {', '.join(known)}.", exit_code=USAGE)
    return known[name.lower()]


def conditions(filters: list[str]) -> list[retriever_pb2.MetadataCondition]:
    """Filters as conditions: values of the same key and sense are alternatives, different keys must all hold."""
    from corella.v1 import retriever_pb2

    grouped: dict[tuple[str, bool], list[str]] = {}
    for text in filters:
        key, separator, value = text.partition("=")
        negate = key.endswith("!")
        if not key.rstrip("!"):
            raise UserError(f"--filter takes key=value, key!=value or key, not {text!r}.", exit_code=USAGE)
        values = grouped.setdefault((key.removesuffix("!"), negate), [])
        if separator:
            values.append(value)
    return [retriever_pb2.MetadataCondition(key=key, any_of=values, negate=negate) for (key, negate), values in grouped.items()]


def provenance(source: retriever_pb2.Provenance) -> str:
    """Where a hit came from: `kw #1, vec #4`."""
    parts = []
    if source.HasField("keyword_rank"):
        parts.append(f"kw #{source.keyword_rank}")
    if source.HasField("vector_rank"):
        parts.append(f"vec #{source.vector_rank}" + (" new" if source.embedded_now else ""))
    return ", ".join(parts)


def _show(response: retriever_pb2.SearchResponse) -> None:
    from rich.table import Table
    from rich.text import Text

    from corella.cli.output import console, enum_word, line, link, place
    from corella.v1 import retriever_pb2

    out = console()
    if not response.passages:
        out.print("Nothing found.")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading, justify in (("#", "right"), ("score", "right"), ("from", "left"), ("passage", "left")):
        table.add_column(heading, justify=justify, no_wrap=heading != "passage")  # type: ignore[arg-type]
    for number, passage in enumerate(response.passages, 1):
        where = link(place(passage.title, passage.heading_path), passage.uri)
        text = Text.assemble(where, "\n", (line(passage.text, 220), "dim"))
        if not out.is_terminal:
            text.append(f"\n{line(passage.uri)}")
        table.add_row(str(number), f"{passage.score:.3f}", provenance(passage.provenance), text)
    out.print(table)
    how = enum_word(retriever_pb2.SearchMode, response.mode).lower()
    if response.fusion:
        how += f", {enum_word(retriever_pb2.Fusion, response.fusion).lower().replace('_', ' ')}"
    out.print(f"{how}, {response.timings.total.ToMilliseconds()} ms", style="dim")
