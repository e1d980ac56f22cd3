"""Jira Cloud (REST v2 and v3) and Confluence Cloud (REST v2, and v1 for restrictions) for tests, from JSON files in the shapes of theirs.

python tests/servers/atlassian_server.py --port 8098                        # the sample company
python tests/servers/atlassian_server.py --port 8098 --issues FILE.jsonl    # normalised issues: issue_id, title, description, comments…
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
import threading
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from jira_shapes import adf_of, issue_of_line, matches, wiki_of
from scripted_http import Answer, Asked, ScriptedServer

DATA = Path(__file__).parent / "data"
USER, TOKEN = "sync@hollinmere.example", "atl-test-token"
_V = r"/rest/api/(?P<version>[23])"


class AtlassianServer(ScriptedServer):
    """Serves `issues`, `pages` and what belongs to them; tests change them with the methods below."""

    controls = (
        "fail", "heal", "put_issue", "remove_issue", "comment", "secure", "put_page", "remove_page", "restrict", "now_is",
    )  # fmt: skip

    def __init__(self, port: int = 0, folder: Path = DATA) -> None:
        super().__init__(port)
        jira = json.loads((folder / "jira.json").read_text())
        confluence = json.loads((folder / "confluence.json").read_text())
        self.issues: dict[str, dict[str, Any]] = {issue["key"]: issue for issue in jira["issues"]}
        self.levels: dict[str, list[dict[str, Any]]] = jira["levels"]
        self.schemes: dict[str, list[dict[str, Any]]] = jira["schemes"]
        self.roles: dict[str, dict[str, Any]] = jira["roles"]
        self.members: dict[str, list[dict[str, Any]]] = jira["members"]
        self.files: dict[str, str] = jira["files"]
        self.spaces: dict[str, dict[str, Any]] = {space["id"]: space for space in confluence["spaces"]}
        self.pages: dict[str, dict[str, Any]] = {page["id"]: page for page in confluence["pages"]}
        self.folders: dict[str, dict[str, Any]] = {each["id"]: each for each in confluence["folders"]}
        self.restrictions: dict[str, dict[str, list[dict[str, Any]]]] = confluence["restrictions"]
        self.attachments: dict[str, list[dict[str, Any]]] = confluence["attachments"]
        self.admin = True
        self.has_search_jql = True
        self.page_size = 50
        self.inline_comments = 20
        self.media_url = ""
        """Where attachments are redirected to; empty: they are served at once."""
        self.now = datetime.now(UTC)

    def take_issues(self, path: Path) -> None:
        """Serves the normalised issues in these JSON lines, in place of the sample company's."""
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        self.issues = {issue["key"]: issue for issue in (issue_of_line(line, number) for number, line in enumerate(lines))}
        self.schemes = {}

    # What tests change.

    def now_is(self, minutes: float = 0.0) -> None:
        """Moves the time of later changes."""
        self.now += timedelta(minutes=minutes)

    def put_issue(self, key: str, **fields: Any) -> None:
        """Adds an issue or changes fields of one."""
        with self.lock:
            project = key.partition("-")[0]
            blank = {
                "id": str(50_000 + len(self.issues)), "key": key,
                "fields": {"summary": key, "project": {"key": project, "name": project}, "comment": {"comments": []}, "labels": []},
            }  # fmt: skip
            issue = self.issues.setdefault(key, blank)
            issue["fields"].update(fields)
            self._touch(issue)

    def remove_issue(self, key: str) -> None:
        """Deletes an issue."""
        with self.lock:
            self.issues.pop(key)

    def comment(self, key: str, id: str, body: Any, **more: Any) -> None:
        """Adds a comment, or changes one."""
        with self.lock:
            comments = self.issues[key]["fields"]["comment"]["comments"]
            comments[:] = [each for each in comments if each["id"] != id]
            comments.append({"id": id, "body": body, "created": self._stamp(), "updated": self._stamp(), **more})
            self._touch(self.issues[key])

    def secure(self, key: str, level: str | None) -> None:
        """Sets the security level of an issue."""
        with self.lock:
            self.issues[key]["fields"]["security"] = {"id": level, "name": f"Level {level}"} if level else None
            self._touch(self.issues[key])

    def put_page(self, id: str, **fields: Any) -> None:
        """Adds a page or changes one; its version goes up."""
        with self.lock:
            space = fields.get("spaceId") or next(iter(self.spaces))
            page = self.pages.setdefault(id, {"id": id, "title": f"Page {id}", "status": "current", "spaceId": space, "body": "",
                                              "version": {"number": 0}})  # fmt: skip
            page.update(fields)
            page["version"]["number"] += 1

    def remove_page(self, id: str) -> None:
        """Deletes a page."""
        with self.lock:
            self.pages.pop(id)

    def restrict(self, id: str, users: list[str] | None = None, groups: list[str] | None = None) -> None:
        """Sets who may read a page; nobody named: no restriction."""
        with self.lock:
            self.restrictions[id] = {
                "user": [{"type": "known", "accountId": user, "displayName": user} for user in users or []],
                "group": [{"type": "group", "name": group, "id": f"id-{group}"} for group in groups or []],
            }

    def _stamp(self) -> str:
        return self.now.strftime("%Y-%m-%dT%H:%M:%S.000+0000")

    def _touch(self, issue: dict[str, Any]) -> None:
        self.now += timedelta(seconds=1)
        issue["fields"]["updated"] = self._stamp()

    # What it answers.

    def answer(self, asked: Asked) -> Answer:
        if asked.path.startswith("/media/"):
            return self._file(asked.path.removeprefix("/media/"))
        basic = "Basic " + base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()
        if asked.headers.get("authorization") not in (basic, f"Bearer {TOKEN}"):
            return Answer.json({"errorMessages": ["Client must be authenticated to access this resource."]}, 401)
        for pattern, method in _ROUTES:
            found = re.fullmatch(pattern, asked.path)
            if found:
                return getattr(self, method)(asked, **found.groupdict())
        return Answer.json({"errorMessages": [], "errors": {}}, 404)

    def _myself(self, asked: Asked, version: str) -> Answer:
        return Answer.json({"accountId": "712020:sync", "emailAddress": USER, "active": True, "timeZone": "Europe/London"})

    def _search_jql(self, asked: Asked, version: str) -> Answer:
        if not self.has_search_jql:
            return Answer.json({"errorMessages": ["Not found"]}, 404)
        found = self._matching(asked)
        if found is None:
            return Answer.json({"errorMessages": ["The JQL cannot be read, or names a project that is not there."]}, 400)
        start = int(base64.b64decode(asked.query["nextPageToken"])) if "nextPageToken" in asked.query else 0
        end = start + min(self.page_size, int(asked.query.get("maxResults", 50)))
        page: dict[str, Any] = {"issues": self._shown(found[start:end], asked, version), "isLast": end >= len(found)}
        if end < len(found):
            page["nextPageToken"] = base64.b64encode(str(end).encode()).decode()
        return Answer.json(page)

    def _search(self, asked: Asked, version: str) -> Answer:
        found = self._matching(asked)
        if found is None:
            return Answer.json({"errorMessages": ["The JQL cannot be read, or names a project that is not there."]}, 400)
        start, size = int(asked.query.get("startAt", 0)), min(self.page_size, int(asked.query.get("maxResults", 50)))
        issues = self._shown(found[start : start + size], asked, version)
        return Answer.json({"expand": "schema,names", "startAt": start, "maxResults": size, "total": len(found), "issues": issues})

    def _matching(self, asked: Asked) -> list[dict[str, Any]] | None:
        projects = {issue["fields"]["project"]["key"] for issue in self.issues.values()}
        jql = asked.query.get("jql", "")
        named = re.search(r"project in \(([^)]*)\)", jql)
        if named is None or not set(re.findall(r'"([^"]+)"', named.group(1))) <= projects | set(self.schemes):
            return None
        found = [issue for issue in self.issues.values() if matches(issue, jql, self.now)]
        return sorted(found, key=lambda issue: (issue["key"].partition("-")[0], int(issue["key"].rpartition("-")[2])))

    def _shown(self, issues: list[dict[str, Any]], asked: Asked, version: str) -> list[dict[str, Any]]:
        wanted = asked.query.get("fields", "*all").split(",")
        return [self._issue_shown(issue, wanted, version) for issue in issues]

    def _issue_shown(self, issue: dict[str, Any], wanted: list[str], version: str) -> dict[str, Any]:
        body = adf_of if version == "3" else wiki_of
        fields = deepcopy({name: value for name, value in issue["fields"].items() if "*all" in wanted or name in wanted})
        if fields.get("description") is not None:
            fields["description"] = body(fields["description"])
        if "comment" in fields:
            fields["comment"] = self._comments_shown(issue, 0, self.inline_comments, version)
        shown = {"expand": "operations,changelog", "id": issue["id"], "self": f"{self.url}/rest/api/{version}/issue/{issue['id']}"}
        return {**shown, "key": issue["key"], "fields": fields}

    def _comments_shown(self, issue: dict[str, Any], start: int, size: int, version: str) -> dict[str, Any]:
        body = adf_of if version == "3" else wiki_of
        comments = issue["fields"]["comment"]["comments"]
        shown = [{**comment, "body": body(comment["body"])} for comment in comments[start : start + size]]
        return {"startAt": start, "maxResults": size, "total": len(comments), "comments": shown}

    def _issue(self, asked: Asked, version: str, key: str) -> Answer:
        issue = self.issues.get(key)
        if issue is None:
            return Answer.json({"errorMessages": ["Issue does not exist or you do not have permission to see it."]}, 404)
        return Answer.json(self._issue_shown(issue, asked.query.get("fields", "*all").split(","), version))

    def _comments(self, asked: Asked, version: str, key: str) -> Answer:
        start, size = int(asked.query.get("startAt", 0)), min(self.page_size, int(asked.query.get("maxResults", 50)))
        return Answer.json(self._comments_shown(self.issues[key], start, size, version))

    def _scheme(self, asked: Asked, version: str, project: str) -> Answer:
        if not self.admin or project not in self.schemes:
            return Answer.json({"errorMessages": ["You cannot edit the configuration of this project."]}, 403)
        return Answer.json({"id": 10100, "name": "Scheme", "permissions": self.schemes[project]})

    def _role(self, asked: Asked, version: str, project: str, role: str) -> Answer:
        return Answer.json(self.roles[role]) if self.admin and role in self.roles else Answer.json({"errorMessages": []}, 403)

    def _level(self, asked: Asked, version: str) -> Answer:
        level = asked.query.get("levelId", "")
        if not self.admin or level not in self.levels:
            return Answer.json({"errorMessages": ["Access is denied."]}, 403)
        values = [
            {"id": str(number), "issueSecurityLevelId": level, "issueSecuritySchemeId": "1", "holder": holder}
            for number, holder in enumerate(self.levels[level])
        ]
        return Answer.json({"startAt": 0, "maxResults": 100, "total": len(values), "isLast": True, "values": values})

    def _members(self, asked: Asked, version: str) -> Answer:
        group = asked.query.get("groupname", "")
        if not self.admin or group not in self.members:
            return Answer.json({"errorMessages": ["Access is denied."]}, 403)
        values = self.members[group]
        return Answer.json({"startAt": 0, "maxResults": 100, "total": len(values), "isLast": True, "values": values})

    def _attachment(self, asked: Asked, version: str, id: str) -> Answer:
        if self.media_url:
            return Answer(303, headers={"location": f"{self.media_url}/media/{id}"})
        return self._file(id)

    def _file(self, id: str) -> Answer:
        return Answer(200, self.files[id].encode(), {"content-type": "text/plain"}) if id in self.files else Answer(404)

    # Confluence.

    def _spaces(self, asked: Asked) -> Answer:
        keys = asked.query.get("keys", "").split(",")
        found = [dict(space) for space in self.spaces.values() if space["key"] in keys]
        return Answer.json({"results": found, "_links": {"base": f"{self.url}/wiki"}})

    def _space_pages(self, asked: Asked, space: str) -> Answer:
        found = [page for page in self.pages.values() if page["spaceId"] == space and page["status"] == "current"]
        start, size = int(asked.query.get("cursor", 0)), min(self.page_size, int(asked.query.get("limit", 25)))
        page: dict[str, Any] = {"results": [self._page_shown(each, asked) for each in found[start : start + size]], "_links": {}}
        if start + size < len(found):
            form = "&body-format=storage" if "body-format" in asked.query else ""
            page["_links"]["next"] = f"/wiki/api/v2/spaces/{space}/pages?limit={size}&status=current{form}&cursor={start + size}"
        return Answer.json(page)

    def _page_shown(self, page: dict[str, Any], asked: Asked) -> dict[str, Any]:
        shown = {name: value for name, value in page.items() if name != "body"}
        key = self.spaces[page["spaceId"]]["key"]
        shown["_links"] = {"webui": f"/spaces/{key}/pages/{page['id']}/{page['title'].replace(' ', '+')}"}
        if asked.query.get("body-format") == "storage":
            shown["body"] = {"storage": {"value": page["body"], "representation": "storage"}}
        return shown

    def _page(self, asked: Asked, id: str) -> Answer:
        return Answer.json(self._page_shown(self.pages[id], asked)) if id in self.pages else Answer.json({"errors": []}, 404)

    def _folder(self, asked: Asked, id: str) -> Answer:
        return Answer.json(self.folders[id]) if id in self.folders else Answer.json({"errors": []}, 404)

    def _restriction(self, asked: Asked, id: str) -> Answer:
        if id not in self.pages and id not in self.folders:
            return Answer.json({"statusCode": 404}, 404)
        start, own = int(asked.query.get("start", 0)), self.restrictions.get(id, {})
        size = min(self.page_size, int(asked.query.get("limit", 100)))
        lists = {
            kind: {"results": own.get(kind, [])[start : start + size], "start": start, "limit": size, "size": len(own.get(kind, []))}
            for kind in ("user", "group")
        }
        return Answer.json({"operation": "read", "restrictions": lists, "_links": {}})

    def _page_attachments(self, asked: Asked, id: str) -> Answer:
        return Answer.json({"results": self.attachments.get(id, []), "_links": {}})

    def _download(self, asked: Asked, id: str, name: str) -> Answer:
        return self._file(f"{id}/{name}")


_ROUTES = (
    (_V + r"/myself", "_myself"),
    (_V + r"/search/jql", "_search_jql"),
    (_V + r"/search", "_search"),
    (_V + r"/issue/(?P<key>[A-Z]+-\d+)", "_issue"),
    (_V + r"/issue/(?P<key>[A-Z]+-\d+)/comment", "_comments"),
    (_V + r"/project/(?P<project>[A-Z]+)/permissionscheme", "_scheme"),
    (_V + r"/project/(?P<project>[A-Z]+)/role/(?P<role>\d+)", "_role"),
    (_V + r"/issuesecurityschemes/level/member", "_level"),
    (_V + r"/group/member", "_members"),
    (_V + r"/attachment/content/(?P<id>\d+)", "_attachment"),
    (r"/wiki/api/v2/spaces", "_spaces"),
    (r"/wiki/api/v2/spaces/(?P<space>\d+)/pages", "_space_pages"),
    (r"/wiki/api/v2/pages/(?P<id>\d+)", "_page"),
    (r"/wiki/api/v2/folders/(?P<id>\d+)", "_folder"),
    (r"/wiki/api/v2/pages/(?P<id>\d+)/attachments", "_page_attachments"),
    (r"/wiki/rest/api/content/(?P<id>\d+)/restriction/byOperation/read", "_restriction"),
    (r"/wiki/download/attachments/(?P<id>\d+)/(?P<name>[^/]+)", "_download"),
)


def main() -> None:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8098)
    parser.add_argument("--issues", type=Path, help="JSON lines of normalised issues, in place of the sample company's")
    given = parser.parse_args()
    server = AtlassianServer(given.port)
    if given.issues:
        server.take_issues(given.issues)
    with server:
        print(f"{server.url} serves {len(server.issues)} issues and {len(server.pages)} pages to {USER} with {TOKEN}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
