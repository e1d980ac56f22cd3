"""Grafana dashboards as code: what the chart installs is written from here by `make dashboards`.

    promql.py        fragments of PromQL: a rate, a quantile, a share
    panels.py        what a panel is here: title, what to do when it looks wrong, unit, queries
    board.py         what all dashboards have: variables, links, data sources
    questions.py     from the rate of questions down to one trace
    retrieval.py     what was found, and what became of it
    ingestion.py     documents on their way in
    generation.py    vLLM and the GPU below it
    training.py      jobs, their curves, and what the gate said
    cost.py          measured usage times prices
    objectives.py    service level objectives and the burn-rate alerts that follow from them
    catalog.py       all of them, and the files they become
    layout_picture.py  draws a dashboard's layout for the documentation

Names of metrics are those of docs/observability.md as Prometheus sees them. The tests ask a real Prometheus every expression.
"""
