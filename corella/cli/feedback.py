"""`corella feedback`: what people think of answers, from which datasets are built."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.core import TyperGroup

from corella.cli.context import Json, session
from corella.cli.failures import USAGE, UserError

_GIVE = "give"


class _GiveByDefault(TyperGroup):
    """`corella feedback ANSWER --up` means `corella feedback give ANSWER --up`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        if args and args[0] not in self.commands and args[0] not in {"-h", "--help"}:
            args = [_GIVE, *args]
        return list(super().parse_args(ctx, args))  # type: ignore[arg-type]


app = typer.Typer(
    cls=_GiveByDefault,
    help="Say what you think of an answer: corella feedback ANSWER --up, or --down --correct TEXT; and list what was said.",
    no_args_is_help=True,
)


@app.command(_GIVE)
def give_feedback(
    ctx: typer.Context,
    answer: Annotated[str, typer.Argument(help="Name (answers/…) or id, as in the last line of the answer.")],
    up: Annotated[bool, typer.Option("--up", help="It helped.")] = False,
    down: Annotated[bool, typer.Option("--down", help="It did not.")] = False,
    correct: Annotated[str, typer.Option(help="What the answer should have been.")] = "",
    comment: Annotated[str, typer.Option(help="Anything else.")] = "",
    as_json: Json = False,
) -> None:
    """Say what you think of an answer; `give` may be left out. A second time replaces the first."""
    from corella.cli.naming import full
    from corella.cli.output import console, write_json
    from corella.v1 import generator_pb2

    if up and down:
        raise UserError("--up and --down exclude each other.", exit_code=USAGE)
    if not (up or down or correct):
        raise UserError("Say --up, --down or --correct TEXT.", exit_code=USAGE)
    rating = generator_pb2.RATING_UP if up else generator_pb2.RATING_DOWN if down else generator_pb2.RATING_UNSPECIFIED
    request = generator_pb2.CreateFeedbackRequest(
        parent=full("answers", answer), feedback=generator_pb2.Feedback(rating=rating, corrected_text=correct, comment=comment)
    )
    with session(ctx).client() as corella:
        stored = corella.generator.CreateFeedback(request).feedback
    if as_json:
        write_json(stored)
    else:
        console().print(f"Stored {stored.name}.", soft_wrap=True)


@app.command("list")
def list_feedback(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many at most. 0: all.")] = 50,
    as_json: Json = False,
) -> None:
    """List feedback with the questions, oldest first. With --json one record a line, with answer and passages."""
    from rich.table import Table

    from corella.cli.naming import served
    from corella.cli.output import console, enum_word, line, write_json
    from corella.cli.paging import every
    from corella.v1 import generator_pb2

    with session(ctx).client() as corella:
        records = list(every(corella.generator.ListFeedback, generator_pb2.ListFeedbackRequest(), "records", limit))
    if as_json:
        for record in records:
            write_json(record)
        return
    if not records:
        console().print("No feedback yet: `corella feedback ANSWER --up` gives some.")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("given", "rating", "by", "question", "corrected text or comment"):
        table.add_column(heading, no_wrap=heading in {"given", "rating", "by"}, overflow="fold")
    for record in records:
        rating = record.feedback.rating
        table.add_row(
            f"{record.feedback.create_time.ToDatetime():%m-%d %H:%M}",
            enum_word(generator_pb2.Rating, rating).lower() if rating else "",
            served(record.adapter), line(record.question, 70), line(record.feedback.corrected_text or record.feedback.comment, 90),
        )  # fmt: skip
    console().print(table)
