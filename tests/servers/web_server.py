"""A web site for tests: pages that come and go, with ETags, Last-Modified, redirects, robots.txt and sitemaps.

python tests/servers/web_server.py --port 8099 --folder samples/pages
"""

from __future__ import annotations

import argparse
import sys
import threading
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import sha256
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from scripted_http import Answer, Asked, ScriptedServer

_TYPES = {".html": "text/html; charset=utf-8", ".md": "text/markdown; charset=utf-8", ".txt": "text/plain", ".pdf": "application/pdf"}


@dataclass
class _Page:
    content: bytes
    headers: dict[str, str] = field(default_factory=dict)
    code: int = 200


class WebServer(ScriptedServer):
    """Pages by path. A page with a query has it in its path (`/a?page=2`)."""

    controls = ("fail", "heal", "put", "remove", "redirect")

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.pages: dict[str, _Page] = {}
        self._changes = 1_700_000_000

    def put(self, path: str, content: str | bytes, type: str = "", headers: dict[str, str] | None = None, validators: str = "both") -> None:
        """Adds or changes a page. `validators`: `both`, `etag`, `modified` or `none`."""
        raw = content.encode() if isinstance(content, str) else content
        ending = Path(path.partition("?")[0]).suffix
        said = {"content-type": type or _TYPES.get(ending, "text/html; charset=utf-8"), **(headers or {})}
        self._changes += 60
        if validators in ("both", "etag"):
            said["etag"] = f'"{sha256(raw).hexdigest()[:12]}"'
        if validators in ("both", "modified"):
            said["last-modified"] = formatdate(self._changes, usegmt=True)
        with self.lock:
            self.pages[path] = _Page(raw, said)

    def remove(self, path: str) -> None:
        """Takes a page away."""
        with self.lock:
            self.pages.pop(path, None)

    def redirect(self, path: str, target: str, code: int = 302) -> None:
        """Has a path lead elsewhere."""
        with self.lock:
            self.pages[path] = _Page(b"", {"location": target}, code)

    def answer(self, asked: Asked) -> Answer:
        query = "&".join(f"{name}={value}" for name, value in asked.query.items())
        page = self.pages.get(asked.path + (f"?{query}" if query else "")) or self.pages.get(asked.path)
        if page is None:
            return Answer(404, b"<h1>Not found</h1>", {"content-type": "text/html"})
        etag, modified = page.headers.get("etag"), page.headers.get("last-modified")
        if page.code == 200 and (asked.headers.get("if-none-match") or asked.headers.get("if-modified-since")):
            same = asked.headers.get("if-none-match") == etag if etag else asked.headers.get("if-modified-since") == modified
            if same:
                return Answer(304, headers={name: page.headers[name] for name in ("etag", "last-modified") if name in page.headers})
        return Answer(page.code, page.content, page.headers)


def main() -> None:
    """Serves a folder, with a start page that links to everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8099)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    server = WebServer(given.port)
    paths = sorted(path for path in given.folder.rglob("*") if path.suffix in _TYPES)
    for path in paths:
        server.put("/" + path.relative_to(given.folder).as_posix(), path.read_bytes())
    links = "".join(f'<li><a href="/{path.relative_to(given.folder).as_posix()}">{path.stem}</a></li>' for path in paths)
    server.put("/", f"<h1>Pages</h1><ul>{links}</ul>")
    with server:
        print(f"{server.url}/ serves {len(paths)} pages", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
