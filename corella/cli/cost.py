"""`corella cost`: what a question costs with retrieval, with tuning, and with both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corella.cli.context import Json, session
from corella.cli.failures import UserError

if TYPE_CHECKING:
    from corella.v1 import trainer_pb2

WAYS = {"retrieval": "retrieval", "tuned": "tuned, no retrieval", "both": "tuned and retrieval"}


def cost(
    ctx: typer.Context,
    questions: Annotated[int, typer.Option(min=0, help="Questions that pay training off. 0: those asked so far.")] = 0,
    picture: Annotated[
        Path | None, typer.Option(help="Draw total cost over the number of questions, with the break-even, into this PNG.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a question costs with retrieval alone, with tuning alone, and with both, as the last judgement measured it."""
    from corella.cli.output import console, write_json
    from corella.v1 import trainer_pb2

    if picture is not None:
        _check_picture(picture)
    with session(ctx).client() as corella:
        found = corella.trainer.GetCost(trainer_pb2.GetCostRequest(question_count=questions))
    if as_json:
        write_json(found)
    else:
        _show(found)
    if picture is not None:
        from corella.evaluation.cost_picture import Way, draw

        ways = [
            Way(WAYS.get(way.way, way.way), way.running_cost, 0.0 if way.way == "retrieval" else found.training_cost) for way in found.ways
        ]
        draw(ways, found.currency, picture, asked=found.question_count)
        # Standard output is one JSON value when that is asked for.
        console(error=as_json).print(f"Picture: {picture}", soft_wrap=True)


def _check_picture(picture: Path) -> None:
    """Says what would go wrong before anything is asked."""
    if picture.suffix.lower() != ".png":
        raise UserError(f"--picture takes a file that ends in .png, not {str(picture)!r}.", exit_code=2)
    if not _there("matplotlib"):
        raise UserError("Drawing needs the Python package matplotlib, which is not installed.", hint="pip install matplotlib")


def _there(package: str) -> bool:
    from importlib.util import find_spec

    try:
        return find_spec(package) is not None
    except ValueError:
        return False


def _show(found: trainer_pb2.GetCostResponse) -> None:
    from rich.table import Table

    from corella.cli.naming import short
    from corella.cli.output import console, duration, line

    out = console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    headings = ("a question with", "prompt tokens", "written", "retrieval", "engine", "running", "training", "in all", "answer F1")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == headings[0] else "right", no_wrap=True)
    for way in found.ways:
        table.add_row(
            WAYS.get(way.way, line(way.way)), f"{way.prompt_tokens:,.0f}", f"{way.completion_tokens:,.0f}",
            duration(way.retrieval_seconds), duration(way.engine_seconds), amount(way.running_cost), amount(way.training_cost),
            amount(way.total_cost), f"{way.answer_f1:.2f}",
        )  # fmt: skip
    out.print(table)
    currency = line(found.currency)
    out.print(
        f"Costs in {currency}. Training cost {amount(found.training_cost)}, spread over {found.question_count:,} questions.", soft_wrap=True
    )
    for what, count in (("Tuning alone", found.break_even_questions_tuned), ("Tuning with retrieval", found.break_even_questions_both)):
        often = f"cheaper than retrieval alone from {count:,} questions on." if count else "never cheaper than retrieval alone."
        out.print(f"{what} is {often}", soft_wrap=True)
    if found.prices:
        prices = ", ".join(f"{line(name).replace('_', ' ')} {amount(price)}" for name, price in sorted(found.prices.items()))
        out.print(f"Prices: {prices}", style="dim", soft_wrap=True)
    if found.evaluation:
        out.print(f"Measured by evaluation {short(found.evaluation)}", style="dim", soft_wrap=True)
    for note in found.notes:
        out.print(f"- {line(note)}", soft_wrap=True)


def amount(value: float) -> str:
    """An amount with enough digits to compare by."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.3g}"
