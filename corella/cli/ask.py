"""`corella ask`: a question answered while you watch, with citations you can click."""

from __future__ import annotations

from typing import Annotated

import typer

from corella.cli.context import DEFAULT_CORPUS, CorpusOption, Json, session
from corella.cli.failures import USAGE, UserError
from corella.cli.search import FilterOption, FusionOption, ModeOption, conditions, search_fusion, search_mode

_STYLE = "How it should read"


def ask(
    ctx: typer.Context,
    question: Annotated[str | None, typer.Argument(help="The question. Without one you can go on asking.")] = None,
    corpus: CorpusOption = DEFAULT_CORPUS,
    conversation: Annotated[str, typer.Option(help="Id of a conversation to go on with, or to begin.")] = "",
    show_passages: Annotated[bool, typer.Option("--show-passages", help="Show what the model was given.")] = False,
    mode: ModeOption = "",
    fusion: FusionOption = "",
    filters: FilterOption = None,
    passages: Annotated[int, typer.Option(min=0, max=5, help="How many passages the model sees. 0: the default, 4.")] = 0,
    refuse_below: Annotated[
        float | None, typer.Option(min=0, max=1, help="Say “I do not know” when an answer is less probable. Default: calibrated.")
    ] = None,
    adapter: Annotated[str, typer.Option(help="Who answers, to compare: adapter/version, or base. Default: what serves.")] = "",
    max_tokens: Annotated[int, typer.Option(min=0, help="Longest answer in tokens. 0: the default, 96.")] = 0,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="0, the default: the same answer each time.")] = None,
    style: Annotated[str, typer.Option(help="Such as “bullet points”.", rich_help_panel=_STYLE)] = "",
    tone: Annotated[str, typer.Option(help="Such as “friendly”.", rich_help_panel=_STYLE)] = "",
    readability: Annotated[str, typer.Option(help="For whom, such as “a twelve-year-old”.", rich_help_panel=_STYLE)] = "",
    verbosity: Annotated[str, typer.Option(help="Such as “one sentence”.", rich_help_panel=_STYLE)] = "",
    persona: Annotated[str, typer.Option(help="Who speaks, such as “a service technician”.", rich_help_panel=_STYLE)] = "",
    instructions: Annotated[str, typer.Option(help="Anything else.", rich_help_panel=_STYLE)] = "",
    as_json: Json = False,
) -> None:
    """Ask. The answer is written as it comes, and ends with its citations. Exit status 0 also for “I do not know”.

    Without a question: a prompt, where follow-ups understand what came before. /new begins anew, /quit ends, Ctrl-C stops an answer.
    With --json every event of the answer is one line, in the form of AskResponse in generator.proto.
    """
    from corella.cli.answering import ask_once
    from corella.cli.chat import Chat
    from corella.cli.naming import BASE, adapter_version
    from corella.client import corpus_name
    from corella.v1 import generator_pb2

    if question is None and as_json:
        raise UserError("--json needs a question.", exit_code=USAGE)
    retrieval = generator_pb2.RetrievalOptions(
        mode=search_mode(mode), fusion=search_fusion(fusion), filter=conditions(filters or []), passage_limit=passages,
        refusal_threshold=refuse_below,
    )  # fmt: skip
    request = generator_pb2.AskRequest(
        question=question or "",
        corpus=corpus_name(corpus),
        conversation=conversation and (conversation if conversation.startswith("conversations/") else f"conversations/{conversation}"),
        retrieval=retrieval,
        style=generator_pb2.AnswerStyle(
            style=style, tone=tone, readability=readability, verbosity=verbosity, persona=persona, instructions=instructions
        ),
        generation=generator_pb2.GenerationOptions(max_tokens=max_tokens, temperature=temperature),
        # Where no follow-up can come, a summary would cost the model's time for nothing.
        skip_memory=not conversation and question is not None,
        adapter=adapter_version(adapter) if adapter not in {"", BASE} else adapter,
    )
    found = session(ctx)
    with found.client() as corella:
        if question is None:
            Chat(corella.generator, request, found.home, show_passages=show_passages, trace=found.trace).run()
        else:
            ask_once(corella.generator, request, show_passages=show_passages, as_json=as_json)
