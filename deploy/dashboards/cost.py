"""Dashboard "Cost": measured usage times the prices in the trainer's settings.

Usage is counted by the services; a price is a gauge. What is not priced is counted in CPU-seconds, see `PriceSettings`.
"""

from __future__ import annotations

from deploy.dashboards.board import Board, Section
from deploy.dashboards.panels import Query, graph, number
from deploy.dashboards.promql import equals, growth, matches, or_zero, rate, select

_SECONDS = "corella_usage_seconds_total"
_QUESTIONS = "corella_usage_questions_total"
_FOR_QUESTIONS = 'corella_purpose=~"answer|summary"'
"""Not what applications let the model complete, which costs something without being asked."""
_RUNNING_PARTS = matches("corella_component", "engine|retrieval")


def _price(of: str) -> str:
    return f"scalar(max({select('corella_price', equals('corella_component', of))}))"


def _spent(component: str, *matchers: str) -> str:
    """What a component has cost over the range shown; nothing used is 0."""
    return f"{or_zero(growth(_SECONDS, equals('corella_component', component), *matchers))} * {_price(f'{component}_second')}"


def _spending(component: str) -> str:
    """What a component costs per hour."""
    return f"{or_zero(rate(_SECONDS, equals('corella_component', component)))} * {_price(f'{component}_second')} * 3600"


_ASKED = f"{growth(_QUESTIONS)} > 0"
_RUNNING = f"({_spent('engine', _FOR_QUESTIONS)} + {_spent('retrieval', _FOR_QUESTIONS)})"

_OVERVIEW = Section(
    "What it costs, in the currency of the price list",
    (
        number(
            "Per question",
            "If it rises, see which component beside it grew: longer prompts and answers cost engine seconds. Compare with `corella cost`.",
            "short",
            Query(f"{_RUNNING} / ({_ASKED})"),
        ),
        number(
            "Engine in this range",
            "If it is most of the sum, shorten prompts (fewer passages) or tune an adapter that needs fewer; "
            "`corella cost` compares the ways.",
            "short",
            Query(_spent("engine")),
        ),
        number(
            "Retrieval in this range",
            "If it rivals the engine, searches are slow rather than many: open “Retrieval quality” and look at durations by mode.",
            "short",
            Query(_spent("retrieval")),
        ),
        number(
            "Training in this range",
            "Compare it with what an accepted adapter saves per question below; stop schedules that train more often than people ask.",
            "short",
            Query(_spent("training")),
        ),
        number(
            "Questions in this range",
            "Costs per question mean little for few questions: widen the range until there are a hundred before you act on them.",
            "short",
            Query(growth(_QUESTIONS)),
        ),
        number(
            "Training pays off after",
            "Questions after which training equals what answering costs now, if tuning halved it. "
            "Check the measured break-even with `corella cost`.",
            "short",
            Query(f"{_spent('training')} / (0.5 * {_RUNNING} / ({_ASKED}) > 0)"),
        ),
    ),
)

_COURSE = Section(
    "Course",
    (
        graph(
            "Cost per hour by component",
            "Look for the component that grew without more questions; that one got slower. Open its dashboard.",
            "short",
            *(Query(_spending(component), component) for component in ("engine", "retrieval", "training")),
            stacked=True,
            width=12,
        ),
        graph(
            "Seconds used per question",
            "If “engine” rises, answers or prompts got longer; if “retrieval” rises, searches got slower. "
            "Check tokens per question beside it.",
            "s",
            Query(
                f"{rate(_SECONDS, _RUNNING_PARTS, _FOR_QUESTIONS, by='corella_component')} / on () group_left () ({rate(_QUESTIONS)} > 0)",
                "{{corella_component}}",
            ),
            width=12,
        ),
        graph(
            "Context tokens per question",
            "If it grows, clients ask for more passages or the style text grew: lower the number of passages and "
            "evaluate what it costs in quality.",
            "short",
            Query(f"{rate('corella_usage_context_tokens_total', _FOR_QUESTIONS)} / ({rate(_QUESTIONS)} > 0)", "tokens"),
        ),
        graph(
            "Tokens read and written per second",
            "If “input” grows faster than questions, look for longer prompts; if “output” does, lower `max_tokens` where answers ramble.",
            "short",
            Query(rate("gen_ai_client_token_usage_sum", by="gen_ai_token_type"), "{{gen_ai_token_type}}"),
        ),
        graph(
            "Prices",
            "If a price is missing or 1, the price list is not set and costs are CPU-seconds: set `prices` in the trainer's settings.",
            "short",
            Query(f"max by (corella_component) ({select('corella_price')})", "{{corella_component}}"),
        ),
    ),
)

BOARD = Board(
    name="cost",
    title="Cost",
    purpose="What does a question cost, which component costs it, and does training pay?",
    sections=(_OVERVIEW, _COURSE),
    instances_of="corella_usage_questions_total",
    range_start="now-24h",
)
