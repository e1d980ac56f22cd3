"""Each hostile document ends as one failed document with its reason, and the one after it is read as if nothing had happened."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from hostile_files import hostile_files, hostile_names, write_hostile_links

from services.chassis.errors import CorellaError
from services.retriever import directory_source
from services.retriever.parsing_sandbox import ParsingSandbox
from services.retriever.readers import READERS, mime_type_for
from services.retriever.settings import ParsingSettings


@pytest.mark.slow
async def test_each_hostile_file_fails_for_its_reason_and_its_neighbour_does_not() -> None:
    """Slow because several must be given the time and the memory that they may take before they are stopped."""
    sandbox = ParsingSandbox(ParsingSettings(memory_mib=200, cpu_seconds=3))
    wrong, messages = {}, []
    for file in hostile_files():
        reason = "READ"
        try:
            await sandbox.read(file.content, "", file.name)
        except CorellaError as error:
            reason = error.reason
            messages.append(error.message)
        if reason not in file.reasons:
            wrong[file.name] = reason
        assert (await sandbox.read(b"# Good\n\ntext", "", "good.md")).title == "Good", file.name
    await sandbox.close()
    assert wrong == {}
    assert [message for message in messages if not message.endswith(".") or len(message) > 400] == []


def test_there_is_one_of_every_type_that_is_read() -> None:
    assert {mime_type_for(name) for name in hostile_names()} == set(READERS)


def test_no_link_out_of_a_directory_is_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.md"
    secret.write_text("secret")
    folder = tmp_path / "docs"
    write_hostile_links(folder, secret)
    (folder / "good.md").write_text("good")
    os.mkfifo(folder / "pipe.md")
    found = [str(path) for path in directory_source.files(folder, (), ())]
    assert found == ["good.md"]
