"""Adapters on a real generator: served as the shelf says, changed under load, compared side by side, refused when they are not right.

The tests share one process, in this order; the last one kills it. Loading the engine takes half a minute, so it is done twice and not
for each test.
"""

from __future__ import annotations

import os
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from generator_process import RunningGenerator, running_generator, wait_until_serving
from small_adapters import BASE_FOLDER, ShelfFolder, copy_with, make_adapters

from corella.errors import RpcFailure
from corella.v1 import generator_pb2 as pb
from corella.v1.generator_pb2_grpc import GeneratorServiceStub
from services.chassis.model_fingerprint import base_fingerprint
from tests.waiting import until

CHAT = [pb.ChatMessage(role=pb.CHAT_ROLE_USER, text="What is the capital of France?")]
PARIS = "The capital of France is Paris."
TRAINED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SWITCH_SECONDS = 5.0
START_SECONDS = 300.0

pytestmark = pytest.mark.timeout(420)


class Adapted:
    """The process, its shelf, and a client. `names` and `digests` are those of the versions on the shelf."""

    def __init__(self, running: RunningGenerator, stub: GeneratorServiceStub, shelf: ShelfFolder, files: dict[str, Path]) -> None:
        self.running = running
        self.stub = stub
        self.shelf = shelf
        self.files = files
        self.versions: dict[str, tuple[str, str]] = {}

    def complete(self, adapter: str = "", tokens: int = 8) -> tuple[str, str]:
        """A text and the name of the adapter that wrote it."""
        request = pb.CompleteRequest(messages=CHAT, adapter=adapter, generation=pb.GenerationOptions(max_tokens=tokens))
        *deltas, last = self.stub.Complete(request, timeout=100)
        return "".join(each.delta.text for each in deltas), last.completion.adapter

    def serving(self) -> str:
        """What the generator says serves."""
        return self.stub.GetGenerationModel(pb.GetGenerationModelRequest(), timeout=10).model.adapter

    def serve(self, version: str = "") -> None:
        """Says what is to serve, and waits until it does."""
        name, digest = self.versions[version] if version else ("", "")
        self.shelf.serve(name, digest)
        until(lambda: self.serving() == name, SWITCH_SECONDS, f"serving {name!r}", patience=1)

    def refusal(self, name: str) -> RpcFailure:
        """What a request that names a version is told."""
        with pytest.raises(grpc.RpcError) as caught:
            self.complete(name)
        return RpcFailure.from_rpc_error(caught.value)

    def refused(self, name: str) -> bool:
        """Whether the process has logged that it does not serve what is to serve."""
        lines = self.running.log.read_text(errors="replace").splitlines()
        return any("adapter_not_served" in line and f'"{name}"' in line for line in lines)


def settings(shelf: ShelfFolder, cache: Path) -> dict[str, str]:
    """The environment of a generator that serves what is on the shelf."""
    return {"CORELLA_GENERATOR_ADAPTERS__SHELF_URL": str(shelf.folder), "CORELLA_GENERATOR_ADAPTERS__CACHE_FOLDER": str(cache)}


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adapted]:
    """A generator whose shelf says at its start that a damaged version is to serve. It is mended once the process has said so."""
    folder = tmp_path_factory.mktemp("adapters")
    files = make_adapters(folder / "made", {"one": 8, "two": 16, "large": 32})
    shelf = ShelfFolder(folder / "shelf")
    versions = {version: shelf.put(version, files[version], traceparent=TRAINED) for version in ("one", "two")}
    weights = shelf.file("one", "adapter_model.safetensors")
    right = weights.read_bytes()
    weights.write_bytes(right[:-1] + b"x")
    shelf.serve(*versions["one"])
    with (
        running_generator(folder, **settings(shelf, folder / "cache")) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        made = Adapted(running, GeneratorServiceStub(channel), shelf, files)
        made.versions = versions
        until(lambda: made.refused(versions["one"][0]) or running.process.poll() is not None, 100, "the refusal")
        with pytest.raises(grpc.FutureTimeoutError):
            grpc.channel_ready_future(channel).result(timeout=2)
        weights.write_bytes(right)
        wait_until_serving(running.process, channel, running.log, START_SECONDS)
        yield made


def test_it_is_ready_only_with_what_is_to_serve(adapted: Adapted) -> None:
    """That it was not ready before is seen while it is started."""
    name, _ = adapted.versions["one"]
    assert adapted.serving() == name
    assert adapted.complete()[1] == name


def test_it_says_what_fits_it(adapted: Adapted) -> None:
    model = adapted.stub.GetGenerationModel(pb.GetGenerationModelRequest(), timeout=10).model
    assert model.fingerprint == base_fingerprint(BASE_FOLDER)
    assert model.max_adapter_rank == 16


def test_an_answer_and_what_is_kept_of_it_name_the_adapter(adapted: Adapted) -> None:
    name, _ = adapted.versions["one"]
    request = pb.AskRequest(
        question="How long is the warranty period of the Falcon X200?", corpus="corpora/manuals", skip_memory=True, adapter=name
    )
    events = {event.WhichOneof("event"): event for event in adapted.stub.Ask(request, timeout=100)}
    assert events["completion"].completion.adapter == name
    answer = events["citations"].citations.answer.name
    adapted.stub.CreateFeedback(pb.CreateFeedbackRequest(parent=answer, feedback=pb.Feedback(rating=pb.RATING_UP)), timeout=10)
    (record,) = adapted.stub.ListFeedback(pb.ListFeedbackRequest(), timeout=10).records
    assert record.adapter == name
    spans = adapted.running.receiver.settled(events["started"].started.trace_id, 20, quiet_seconds=2)
    for span in (next(span for span in spans if not span.parent_id), next(span for span in spans if span.name.startswith("chat "))):
        assert (span.attributes["corella.adapter.name"], span.attributes["corella.adapter.job"]) == (name, "jobs/one")
        assert [f"00-{link.trace_id}-{link.span_id}-01" for link in span.links] == [TRAINED]


def test_metrics_do_not_grow_with_the_adapters(adapted: Adapted) -> None:
    with urllib.request.urlopen(adapted.running.metrics_url, timeout=10) as response:
        shown = response.read().decode()
    assert 'corella_adapter_serving="adapter"' in shown
    assert "adapters/default" not in shown


def test_base_serving_and_candidate_write_beside_each_other(adapted: Adapted) -> None:
    (one, _), (two, _) = adapted.versions["one"], adapted.versions["two"]
    alone = {name: adapted.complete(name)[0] for name in ("base", one, two)}
    assert len(set(alone.values())) == 3
    assert "Paris" in alone["base"]
    beside: dict[str, tuple[str, str]] = {}
    threads = [threading.Thread(target=lambda name=name: beside.update({name: adapted.complete(name)})) for name in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: written_by for name, (_, written_by) in beside.items()} == {"base": "", one: one, two: two}
    assert beside["base"][0] == alone["base"]
    assert all(beside[name][0] != alone[other] for name in alone for other in alone if name != other)
    assert adapted.serving() == one


def test_a_cached_prompt_of_one_adapter_is_not_taken_for_another(adapted: Adapted) -> None:
    """The prompt is long enough for the prefix cache, which holds whole blocks of 32 tokens."""
    chat = [pb.ChatMessage(role=pb.CHAT_ROLE_USER, text=f"{'Paris is a city in France. ' * 20}What is the capital of France?")]

    def cached(adapter: str) -> int:
        request = pb.CompleteRequest(messages=chat, adapter=adapter, generation=pb.GenerationOptions(max_tokens=1))
        return list(adapted.stub.Complete(request, timeout=100))[-1].completion.usage.cached_prompt_tokens

    names = ("base", adapted.versions["one"][0], adapted.versions["two"][0])
    assert [cached(name) for name in names] == [0, 0, 0]
    assert all(cached(name) > 100 for name in names)


def test_a_text_is_more_or_less_likely_with_an_adapter(adapted: Adapted) -> None:
    def score(text: str, adapter: str) -> pb.ScoreTextResponse:
        return adapted.stub.ScoreText(pb.ScoreTextRequest(messages=CHAT, text=text, adapter=adapter), timeout=100)

    two, _ = adapted.versions["two"]
    base, other = score(PARIS, "base"), score(PARIS, two)
    assert (base.token_count, base.adapter, other.adapter) == (8, "", two)
    assert -10 < base.log_likelihood < 0
    assert other.log_likelihood < base.log_likelihood - 1
    assert score("The capital of Spain is a banana.", "base").log_likelihood < base.log_likelihood - 5
    assert score(PARIS, "base").log_likelihood == pytest.approx(base.log_likelihood, abs=0.5)


def test_a_switch_under_load_fails_nothing_and_every_text_is_one_adapters(adapted: Adapted) -> None:
    (one, _), (two, _) = adapted.versions["one"], adapted.versions["two"]
    adapted.serve("one")
    alone = {name: adapted.complete(name)[0] for name in (one, two)}
    written: list[tuple[float, str, str]] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            began = time.monotonic()
            try:
                written.append((began, *adapted.complete()))
            except grpc.RpcError as error:
                failures.append(error)

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(written) >= 4, 10, "texts of the first")
    switched = time.monotonic()
    adapted.serve("two")
    until(lambda: any(name == two for _, _, name in written), 10, "a text of the second")
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert {name for _, _, name in written} == {one, two}
    assert {name for began, _, name in written if began < switched - 0.5} == {one}
    assert all(text != alone[two if name == one else one] for _, text, name in written)
    adapted.serve()
    assert adapted.complete()[1] == ""
    adapted.serve("one")


@pytest.mark.parametrize("wrong", ["digest", "pickle", "rank", "base", "unfinished"])
def test_a_version_that_is_not_right_is_refused_while_the_old_one_goes_on(adapted: Adapted, tmp_path: Path, wrong: str) -> None:
    shelf, version = adapted.shelf, f"bad-{wrong}"
    right = adapted.files["one"]
    digest = ""
    match wrong:
        case "digest":
            name, _ = shelf.put(version, right)
            digest = adapted.versions["two"][1]
        case "pickle":
            files = copy_with(right, tmp_path / "files")
            (files / "adapter_model.bin").write_bytes(b"\x80\x04.")
            name, digest = shelf.put(version, files)
        case "rank":
            name, digest = shelf.put(version, adapted.files["large"])
        case "base":
            name, digest = shelf.put(version, right, base_fingerprint="another")
        case _:
            name, digest = shelf.put(version, right)
            shelf.file(version, "manifest.json").unlink()
    one, _ = adapted.versions["one"]
    adapted.serve("one")
    shelf.serve(name, digest)
    until(lambda: adapted.refused(name), SWITCH_SECONDS)
    assert adapted.complete()[1] == one
    adapted.serve("one")
    if wrong != "digest":
        said = adapted.refusal(name)
        expected = "ADAPTER_NOT_FOUND" if wrong == "unfinished" else "ADAPTER_REFUSED"
        assert (said.reason, said.metadata["adapter"]) == (expected, name)


def test_a_version_that_is_not_there_is_not_found(adapted: Adapted) -> None:
    said = adapted.refusal("adapters/default/versions/none")
    assert (said.code, said.reason) == (grpc.StatusCode.NOT_FOUND, "ADAPTER_NOT_FOUND")


def test_killed_while_it_switches_it_comes_back_with_what_is_to_serve(adapted: Adapted, tmp_path: Path) -> None:
    cache = adapted.shelf.folder.parent / "cache"
    two, digest = adapted.versions["two"]
    adapted.serve("one")
    adapted.shelf.serve(two, digest)
    time.sleep(0.9)  # about when it looks at the shelf
    adapted.running.process.kill()
    (cache / f".{digest}-partial").mkdir()  # what a copy that was broken off leaves
    with (
        running_generator(tmp_path, **settings(adapted.shelf, cache)) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        wait_until_serving(running.process, channel, running.log, START_SECONDS)
        again = Adapted(running, GeneratorServiceStub(channel), adapted.shelf, adapted.files)
        assert again.complete()[1] == two
        assert [path.name[:64] for path in cache.iterdir()] == [digest]
        assert sorted(os.listdir(next(cache.iterdir()))) == ["adapter_config.json", "adapter_model.safetensors"]
