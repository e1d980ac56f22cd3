"""What callers say about sources is checked, and comes back as it was said."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import duration_pb2, field_mask_pb2

from corella.v1 import retriever_pb2, source_pb2
from services.chassis.errors import InvalidArgument
from services.retriever.access import NOBODY, Access
from services.retriever.source_domain import PlaceRecord, Source, SourceSpec, SourceState
from services.retriever.source_messages import place_message, source_message
from services.retriever.source_records import spec_of, spec_text
from services.retriever.source_requests import create_source, source_of, update_source

JIRA = source_pb2.JiraSource(
    base_url="https://example.atlassian.net", project_keys=["OPS"], user="bot@example.com", token=source_pb2.SecretReference(name="token")
)
PLACES = [
    source_pb2.Source(directory=retriever_pb2.DirectorySource(path="/srv", include=["*.md"], base_uri="https://x.example/")),
    source_pb2.Source(
        web=source_pb2.WebSource(start_url="https://x.example/", max_depth=0, max_pages=5, hosts=["y.example:8443"], exclude=["/old/*"])
    ),
    source_pb2.Source(jira=source_pb2.JiraSource(**{field.name: value for field, value in JIRA.ListFields()}, api_version=2)),
    source_pb2.Source(
        confluence=source_pb2.ConfluenceSource(
            base_url="https://example.atlassian.net/wiki", space_keys=["ENG", "~personal"], token=source_pb2.SecretReference(name="t"),
            include_attachments=True,
        )
    ),
]  # fmt: skip


def request_for(source: source_pb2.Source, **fields: Any) -> source_pb2.CreateSourceRequest:
    return source_pb2.CreateSourceRequest(parent="corpora/c", source_id="s", source=source, **fields)


def violations(source: source_pb2.Source) -> set[str]:
    with pytest.raises(InvalidArgument) as caught:
        create_source(request_for(source))
    return {field for field, _ in caught.value.violations}


@pytest.mark.parametrize("source", PLACES, ids=lambda source: source.WhichOneof("place"))
def test_a_place_comes_back_as_it_was_said(source: source_pb2.Source) -> None:
    kind = str(source.WhichOneof("place"))
    spec = create_source(request_for(source))
    assert place_message(spec.place) == getattr(source, kind)
    assert spec_of(spec_text(spec)) == spec


def test_what_is_left_out_gets_its_default() -> None:
    spec = create_source(request_for(source_pb2.Source(web=source_pb2.WebSource(start_url="https://x.example/"))))
    assert (spec.place.values["max_depth"], spec.place.values["max_pages"]) == (3, 1000)
    assert (spec.interval_seconds, spec.loss_limit, spec.default_access) == (0.0, 0.2, None)
    assert create_source(request_for(source_pb2.Source(jira=JIRA))).place.values["api_version"] == 3


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"base_url": "http://user:pass@x.example"}, "source.jira.base_url"),
        ({"base_url": "gopher://x.example"}, "source.jira.base_url"),
        ({"base_url": "https://"}, "source.jira.base_url"),
        ({"base_url": "https://x.example:99999"}, "source.jira.base_url"),
        ({"project_keys": []}, "source.jira.project_keys"),
        ({"project_keys": ['A" OR project = "B']}, "source.jira.project_keys[0]"),
        ({"user": "a:b"}, "source.jira.user"),
        ({"user": "a\r\nX-Header: b"}, "source.jira.user"),
        ({"token": {"name": "../secret"}}, "source.jira.token.name"),
        ({"api_version": 4}, "source.jira.api_version"),
        ({"jql": "x" * 5000}, "source.jira.jql"),
    ],
)
def test_each_part_of_a_place_is_checked(change: dict[str, Any], field: str) -> None:
    values = {name.name: value for name, value in JIRA.ListFields()} | change
    assert violations(source_pb2.Source(jira=source_pb2.JiraSource(**values))) == {field}


@pytest.mark.parametrize("seconds", [1, 9, 400 * 86_400])
def test_intervals_have_bounds(seconds: int) -> None:
    source = source_pb2.Source(directory=retriever_pb2.DirectorySource(path="/srv"), sync_interval=duration_pb2.Duration(seconds=seconds))
    assert violations(source) == {"source.sync_interval"}


def test_every_violation_is_found() -> None:
    source = source_pb2.Source(
        web=source_pb2.WebSource(start_url="x", max_depth=21, max_pages=-1, hosts=["a b"], include=[""]), loss_limit=-0.1,
        display_name="x" * 201, default_access=retriever_pb2.Access(level=retriever_pb2.ACCESS_LEVEL_LISTED),
    )  # fmt: skip
    assert violations(source) == {
        "source.web.start_url", "source.web.max_depth", "source.web.max_pages", "source.web.hosts[0]", "source.web.include[0]",
        "source.loss_limit", "source.display_name", "source.default_access",
    }  # fmt: skip
    assert violations(source_pb2.Source()) == {"source.place"}


def test_an_update_takes_only_what_it_names() -> None:
    mask = field_mask_pb2.FieldMask(paths=["sync_interval", "default_access"])
    source = source_pb2.Source(
        name="corpora/c/sources/s", loss_limit=7.0 / 10, sync_interval=duration_pb2.Duration(seconds=60),
        default_access=retriever_pb2.Access(level=retriever_pb2.ACCESS_LEVEL_NOBODY),
    )  # fmt: skip
    spec, fields = update_source(source_pb2.UpdateSourceRequest(source=source, update_mask=mask))
    assert fields == {"interval_seconds", "default_access"}
    assert (spec.interval_seconds, spec.default_access) == (60.0, NOBODY)
    for paths in ([], ["name"], ["jira"]):
        request = source_pb2.UpdateSourceRequest(source=source, update_mask=field_mask_pb2.FieldMask(paths=paths))
        with pytest.raises(InvalidArgument):
            update_source(request)


@pytest.mark.parametrize(
    "name", ["", "s", "corpora/c", "corpora/c/sources/", "corpora/c/documents/s", "corpora/a.c/sources/s", "corpora/c/sources/S"]
)
def test_names_of_sources_have_one_form(name: str) -> None:
    with pytest.raises(InvalidArgument):
        source_of(name)
    assert source_of("corpora/c/sources/s") == ("c", "s")


def test_a_source_is_shown_as_its_tenant_knows_it() -> None:
    place = PlaceRecord("jira", {"base_url": "https://x", "project_keys": ["A"], "token": "name-of-token", "user": "", "jql": ""})
    spec = SourceSpec(place, "Tickets", 600.0, 0.5, Access.listed(["u"], ["g"]))
    message = source_message(Source("acme.handbook", "tickets", spec, SourceState.IDLE, 1.0, 2.0, 3, next_sync_time=4.0))
    assert message.name == "corpora/handbook/sources/tickets"
    assert message.jira.token.name == "name-of-token"
    assert (message.sync_interval.seconds, message.next_sync_time.seconds, message.document_count) == (600, 4, 3)
    assert list(message.default_access.groups) == ["g"]
    assert not message.HasField("last_sync")
