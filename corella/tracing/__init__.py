"""Traces without the OpenTelemetry SDK: what a client sends along with a call, and how a trace that was kept is read and laid out.

    spans.py       a span as plain values
    otlp.py        OTLP messages -> spans
    recorder.py    the spans of one command, and the W3C trace context to send with its calls
    endpoint.py    where they go
    exporter.py    sends them there, at the end
    tree.py        spans -> rows of a waterfall
    tempo.py       traces from Grafana Tempo

The local run's own store of traces is `corella/local/trace_store.py`.
"""
