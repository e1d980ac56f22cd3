"""`corella ingest`: documents from disk into a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corella.cli.context import DEFAULT_CORPUS, CorpusOption, Json, session
from corella.cli.failures import FAILED, USAGE, UserError

if TYPE_CHECKING:
    from corella.cli.files import Findings
    from corella.cli.ingesting import Outcome

KNOWN = ".md .markdown .html .htm .txt .pdf .docx .pptx .csv, and .json tickets"
METRICS = {"cosine": "METRIC_COSINE", "inner-product": "METRIC_INNER_PRODUCT", "l2": "METRIC_L2"}


def ingest(
    ctx: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help=f"Files and folders: {KNOWN}.", exists=True)],
    corpus: CorpusOption = DEFAULT_CORPUS,
    lazy: Annotated[
        bool, typer.Option("--lazy", help="New corpus: embed chunks when they are first found, and in the background.")
    ] = False,
    metric: Annotated[str, typer.Option(help=f"New corpus: nearness of vectors: {', '.join(METRICS)}. Default: cosine.")] = "",
    chunk_tokens: Annotated[int, typer.Option(help="New corpus: largest chunk in tokens. 0: the default, 200.", min=0)] = 0,
    overlap_tokens: Annotated[
        int, typer.Option(help="New corpus: tokens repeated between chunks. 0: the default, 32; -1: none.", min=-1)
    ] = 0,
    base_url: Annotated[str, typer.Option(help="Prefix of the documents' URLs. Default: file:// and the absolute path.")] = "",
    metadata: Annotated[list[str] | None, typer.Option("--metadata", "-m", help="key=value for every document. May be repeated.")] = None,
    access_users: Annotated[
        list[str] | None, typer.Option("--access-user", help="Only this user may read the documents, and others named. May be repeated.")
    ] = None,
    access_groups: Annotated[list[str] | None, typer.Option("--access-group", help="As --access-user, for a group.")] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return when the documents are handed over.")] = False,
    as_json: Json = False,
) -> None:
    """Ingest documents. What is already there in the same form is not touched, so a repeat costs nothing."""
    from corella.cli import ingesting
    from corella.cli.files import find
    from corella.cli.output import to_dict, write_json

    if metric and metric not in METRICS:
        raise UserError(f"--metric must be one of {', '.join(METRICS)}.", exit_code=USAGE)
    findings = find(paths, base_url)
    if not findings.documents:
        _show_skipped(findings, as_json=False)
        raise UserError("There is no document of a known type among these paths.", hint=f"Known: {KNOWN}.")
    plan = ingesting.Plan(
        corpus=corpus, lazy=lazy, metric=METRICS.get(metric, ""), chunk_tokens=chunk_tokens, overlap_tokens=overlap_tokens,
        metadata=key_values(metadata or [], "--metadata"), access_users=tuple(access_users or ()), access_groups=tuple(access_groups or ()),
    )  # fmt: skip
    with session(ctx).client() as corella:
        outcome = ingesting.ingest(corella.retriever, findings, plan, wait=not no_wait, quiet=as_json)
    if as_json:
        write_json({
            "corpus": plan.corpus_name, **outcome.counts(), "skipped": [{"path": path, "reason": why} for path, why in findings.skipped],
            "failures": outcome.failures(), "seconds": round(outcome.seconds, 2),
            "operations": [to_dict(operation) for operation in outcome.operations],
        })  # fmt: skip
    else:
        _show(outcome, findings, corpus, waited=not no_wait)
    if not no_wait and outcome.failed:
        raise typer.Exit(FAILED)


def key_values(pairs: list[str], option: str) -> dict[str, str]:
    """`key=value` pairs as a mapping. Raises `UserError` for one without `=`."""
    parsed = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise UserError(f"{option} takes key=value, not {pair!r}.", exit_code=USAGE)
        parsed[key] = value
    return parsed


def _show(outcome: Outcome, findings: Findings, corpus: str, *, waited: bool) -> None:
    from rich.table import Table

    from corella.cli.output import console, duration, line

    out = console()
    _show_skipped(findings, as_json=False)
    if not waited:
        names = ", ".join(operation.name for operation in outcome.operations)
        out.print(
            f"Handed over {len(findings.documents):,} documents: {names}. `corella operations list` shows how far it is.", soft_wrap=True
        )
        return
    failures = outcome.failures()
    if failures:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("failed", overflow="fold")
        table.add_column("why", overflow="fold")
        for failure in failures:
            table.add_row(line(failure["uri"]), line(failure["reason"]), style="red")
        out.print(table)
    counts: dict[str, Any] = outcome.counts()
    summary = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in counts:
        summary.add_column(heading, justify="right")
    summary.add_row(*(f"{count:,}" for count in counts.values()))
    out.print(summary)
    took = duration(outcome.seconds)
    if outcome.failed:
        out.print(f"Not everything in corpus {corpus} could be ingested ({took}).", style="red")
    elif counts["added"] == 0:
        out.print(f"Nothing changed: all {counts['unchanged']:,} documents were in corpus {corpus} in this form already ({took}).")
    else:
        out.print(f"Corpus {corpus} is up to date ({took}).")


def _show_skipped(findings: Findings, *, as_json: bool) -> None:
    from corella.cli.output import console, line

    if as_json:
        return
    out = console(error=True)
    for path, why in findings.skipped:
        out.print(f"Left out: {line(path)} {why}", soft_wrap=True)
    if findings.other_count:
        out.print(f"Left out: {findings.other_count:,} files of other types")
