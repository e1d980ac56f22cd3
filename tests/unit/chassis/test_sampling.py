"""Errors and slow requests leave the process whatever the ratio says, nothing else does, and no span leaves without its parent."""

from __future__ import annotations

import multiprocessing
import threading

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from services.chassis import sampling
from services.chassis.sampling import DROPPED, KEPT, KeptExemplars, RecordingSampler, TraceKeeper

SECOND = 1_000_000_000


class Process:
    """A tracer as a process sets it up, with what it exported."""

    def __init__(self, ratio: float = 0.0, slow_seconds: float = 5.0) -> None:
        self._exporter = InMemorySpanExporter()
        self.keeper = TraceKeeper(SimpleSpanProcessor(self._exporter), slow_seconds)
        provider = TracerProvider(sampler=RecordingSampler(ratio), shutdown_on_exit=False)
        provider.add_span_processor(self.keeper)
        self.tracer = provider.get_tracer("test")

    @property
    def exported(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._exporter.get_finished_spans()}

    def names(self) -> list[str]:
        return [span.name for span in self._exporter.get_finished_spans()]


def remote(sampled: bool = False, trace_id: int = 7) -> trace.Context:
    """The context of a caller in another process."""
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return trace.set_span_in_context(NonRecordingSpan(SpanContext(trace_id, 9, is_remote=True, trace_flags=flags)))


def fail(span: trace.Span) -> None:
    span.set_status(Status(StatusCode.ERROR))


def test_a_quick_and_faultless_request_is_not_exported():
    here = Process()
    with here.tracer.start_as_current_span("root"), here.tracer.start_as_current_span("child"):
        pass
    assert here.names() == []


def test_a_failed_span_keeps_everything_below_the_same_local_root():
    here = Process()
    with here.tracer.start_as_current_span("root"):
        with here.tracer.start_as_current_span("before"):
            pass
        with here.tracer.start_as_current_span("failing") as span:
            fail(span)
        with here.tracer.start_as_current_span("after"):
            pass
    assert here.names() == ["before", "failing", "after", "root"]
    assert {span.attributes[KEPT] for span in here.exported.values()} == {"error"}
    assert all(span.context.trace_flags.sampled for span in here.exported.values())
    assert here.exported["before"].parent.span_id == here.exported["root"].context.span_id


def test_an_exception_that_leaves_a_span_is_a_failure():
    here = Process()
    with pytest.raises(ValueError), here.tracer.start_as_current_span("root"):
        raise ValueError
    assert here.names() == ["root"]


def test_attributes_that_a_span_begins_with_are_there_though_it_was_not_sampled():
    here = Process()
    with here.tracer.start_as_current_span("root", attributes={"begun": "with"}) as span:
        fail(span)
    assert here.exported["root"].attributes["begun"] == "with"


def test_a_slow_request_is_exported_and_a_quick_one_is_not():
    here = Process(slow_seconds=5)
    for name, seconds in (("slow", 5), ("quick", 4)):
        root = here.tracer.start_span(name, start_time=0)
        with trace.use_span(root):
            here.tracer.start_span(f"{name} child", start_time=0).end(SECOND)
        root.end(seconds * SECOND)
    assert here.names() == ["slow child", "slow"]
    assert here.exported["slow"].attributes[KEPT] == "slow"


def test_a_request_that_is_slow_already_is_exported_before_it_ends():
    here = Process(slow_seconds=5)
    root = here.tracer.start_span("root", start_time=0)
    with trace.use_span(root):
        here.tracer.start_span("first", start_time=0).end(SECOND)
        assert here.names() == []
        here.tracer.start_span("second", start_time=SECOND).end(6 * SECOND)
    assert here.names() == ["first", "second"]
    root.end(7 * SECOND)
    assert here.names() == ["first", "second", "root"]


def test_late_work_after_a_quick_request_is_not_slow_because_it_ends_late():
    here = Process(slow_seconds=5)
    root = here.tracer.start_span("root", start_time=0)
    with trace.use_span(root):
        late = here.tracer.start_span("late", start_time=2 * SECOND)
    root.end(3 * SECOND)
    late.end(6 * SECOND)
    assert here.names() == []


def test_late_work_that_fails_brings_its_request_along():
    here = Process()
    root = here.tracer.start_span("root")
    root.end()
    with trace.use_span(root):
        late = here.tracer.start_span("late")
    fail(late)
    late.end()
    assert here.names() == ["root", "late"]
    assert here.exported["late"].parent.span_id == here.exported["root"].context.span_id


def test_late_work_of_a_request_that_was_kept_is_kept():
    here = Process()
    root = here.tracer.start_span("root")
    fail(root)
    root.end()
    with trace.use_span(root):
        here.tracer.start_span("late").end()
    assert here.names() == ["root", "late"]


def test_late_work_whose_request_is_forgotten_becomes_a_root_with_a_link_to_it(monkeypatch):
    monkeypatch.setattr(sampling, "LATE_SECONDS", 0.0)
    here = Process()
    root = here.tracer.start_span("root")
    root.end()
    with trace.use_span(root):
        late = here.tracer.start_span("late")
    fail(late)
    late.end()
    assert here.names() == ["late"]
    assert here.exported["late"].parent is None
    assert [link.context.span_id for link in here.exported["late"].links] == [root.get_span_context().span_id]
    assert here.exported["late"].context.trace_id == root.get_span_context().trace_id


def test_two_requests_of_one_trace_in_one_process_are_kept_apart():
    here = Process()
    first = here.tracer.start_span("first", context=remote(), kind=SpanKind.SERVER)
    second = here.tracer.start_span("second", context=remote(), kind=SpanKind.SERVER)
    with trace.use_span(second):
        here.tracer.start_span("second child").end()
    fail(first)
    first.end()
    second.end()
    assert here.names() == ["first"]


def test_a_server_span_keeps_its_parent_and_a_consumer_span_has_a_link_instead():
    here = Process()
    for kind in (SpanKind.SERVER, SpanKind.CONSUMER, SpanKind.INTERNAL):
        span = here.tracer.start_span(kind.name, context=remote(), kind=kind)
        fail(span)
        span.end()
    assert here.exported["SERVER"].parent.span_id == 9
    assert here.exported["INTERNAL"].parent.span_id == 9
    assert here.exported["CONSUMER"].parent is None
    assert [link.context.span_id for link in here.exported["CONSUMER"].links] == [9]


def test_what_a_callee_keeps_its_caller_keeps():
    here = Process()
    with here.tracer.start_as_current_span("root"):
        with here.tracer.start_as_current_span("earlier"):
            pass
        with here.tracer.start_as_current_span("call") as call:
            here.keeper.keep(call.get_span_context(), "callee")
    assert here.names() == ["earlier", "call", "root"]
    assert here.exported["root"].attributes[KEPT] == "callee"


def test_sampled_traces_are_exported_at_once_and_say_nothing_of_it():
    here = Process(ratio=1.0)
    with here.tracer.start_as_current_span("root"), here.tracer.start_as_current_span("child"):
        pass
    assert here.names() == ["child", "root"]
    assert KEPT not in here.exported["root"].attributes


def test_the_caller_decides_whatever_the_ratio_here():
    never, always = Process(ratio=0.0), Process(ratio=1.0)
    never.tracer.start_span("sampled", context=remote(sampled=True)).end()
    always.tracer.start_span("not sampled", context=remote(sampled=False)).end()
    assert never.names() == ["sampled"]
    assert always.names() == []


def test_the_ratio_is_kept_and_every_process_draws_the_same_traces():
    one, other = RecordingSampler(0.1), RecordingSampler(0.1)
    ids = [trace_id * 0x9E3779B97F4A7C15 % 2**128 for trace_id in range(1, 5_000)]
    drawn = [trace_id for trace_id in ids if one.should_sample(None, trace_id, "root").decision.is_sampled()]
    assert 0.08 < len(drawn) / len(ids) < 0.12
    assert drawn == [trace_id for trace_id in ids if other.should_sample(None, trace_id, "root").decision.is_sampled()]
    assert set(drawn) < {trace_id for trace_id in ids if RecordingSampler(0.5).should_sample(None, trace_id, "root").decision.is_sampled()}


def test_a_part_beyond_its_bound_loses_what_ended_first_and_says_how_much(monkeypatch):
    monkeypatch.setattr(sampling, "MAX_PART_SPANS", 4)
    here = Process()
    with here.tracer.start_as_current_span("root") as root:
        for number in range(10):
            with here.tracer.start_as_current_span(f"child {number}"), here.tracer.start_as_current_span(f"grandchild {number}"):
                pass
        fail(root)
    ids = {span.context.span_id for span in here.exported.values()}
    assert all(span.parent is None or span.parent.span_id in ids for span in here.exported.values())
    assert here.exported["root"].attributes[DROPPED] == 21 - len(here.names())
    assert len(here.names()) == 5


def test_what_is_held_and_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(sampling, "MAX_SPANS", 50)
    monkeypatch.setattr(sampling, "MAX_PARTS", 20)
    here = Process()
    for _ in range(500):
        with here.tracer.start_as_current_span("root"), here.tracer.start_as_current_span("child"):
            pass
    open_roots = [here.tracer.start_span("open") for _ in range(100)]
    for root in open_roots:
        with trace.use_span(root):
            here.tracer.start_span("child").end()
    assert here.keeper._held <= 50
    assert len(here.keeper._over) <= 20
    assert len(here.keeper._parts) <= 20 * 2 + 100 * 2


def test_spans_that_never_end_are_forgotten(monkeypatch):
    monkeypatch.setattr(sampling, "MAX_SPAN_IDS", 10)
    here = Process()
    never = [here.tracer.start_span("never") for _ in range(50)]
    assert len(here.keeper._parts) == 10
    fail(never[0])
    never[0].end()
    assert here.keeper._held == 0


def test_nothing_is_left_when_parts_are_over_for_a_while(monkeypatch):
    monkeypatch.setattr(sampling, "LATE_SECONDS", 0.0)
    here = Process()
    for _ in range(10):
        with here.tracer.start_as_current_span("root"), here.tracer.start_as_current_span("child"):
            pass
    assert (here.keeper._held, here.keeper._parts, len(here.keeper._over)) == (0, {}, 0)


def test_spans_of_many_threads_find_their_parts():
    here = Process()

    def work(number: int) -> None:
        for _ in range(50):
            with here.tracer.start_as_current_span(f"root {number}") as root, here.tracer.start_as_current_span("child"):
                pass
            if number == 0:
                fail(root)

    def failing() -> None:
        for _ in range(50):
            with here.tracer.start_as_current_span("failing") as span:
                fail(span)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)] + [threading.Thread(target=failing)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert here.names() == ["failing"] * 50
    assert here.keeper._held == 4 * 50 * 2


def test_a_forked_child_begins_with_nothing_held_and_a_free_lock():
    here = Process()
    root = here.tracer.start_span("root")
    results = multiprocessing.get_context("fork").SimpleQueue()

    def child() -> None:
        root.end()
        with here.tracer.start_as_current_span("of the child") as span:
            fail(span)
        results.put(here.names())

    with here.keeper._lock:
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
    process.join(10)
    assert process.exitcode == 0
    assert results.get() == ["of the child"]


def test_a_measurement_is_an_exemplar_when_its_trace_is_kept_as_far_as_is_known():
    here = Process(slow_seconds=5)
    filter_ = KeptExemplars(here.keeper.keeps)

    def taken(span: trace.Span) -> bool:
        return filter_.should_sample(1.0, 0, None, trace.set_span_in_context(span))

    quick, failed, slow = here.tracer.start_span("quick"), here.tracer.start_span("failed"), here.tracer.start_span("slow", start_time=0)
    fail(failed)
    assert (taken(quick), taken(failed), taken(slow)) == (False, True, True)
    assert taken(here.tracer.start_span("sampled", context=remote(sampled=True)))
    assert not taken(trace.INVALID_SPAN)
    with trace.use_span(failed):
        child = here.tracer.start_span("child")
    failed.end()
    assert taken(child)
