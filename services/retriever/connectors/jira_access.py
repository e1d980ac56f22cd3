"""Who may read an issue: the project's Browse permission and the issue's security level, as far as the API tells.

Which of a project's groups may browse it is told to administrators only. To others it says nothing, and the source's default holds. A
security level is different: it is there to keep an issue from most, so a level whose members cannot be read means nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.chassis.telemetry import get_logger
from services.retriever.access import NOBODY, Access, AccessLevel
from services.retriever.connectors import access_lists
from services.retriever.connectors.atlassian_api import AtlassianApi
from services.retriever.connectors.atlassian_people import group_names, user_names
from services.retriever.connectors.connector import PlaceRefused
from services.retriever.connectors.json_values import Object, at, identity, number, objects, text

log = get_logger(__name__)

MAX_MEMBERS = 5_000
"""Of one group, or of one level; more are not taken over, and whoever is beyond cannot read."""
_HIDDEN = (401, 403, 404, 405, 410)
_EVERYBODY = frozenset(("anyone", "applicationRole"))
_OF_THE_ISSUE = {"reporter": "reporter", "assignee": "assignee", "currentAssignee": "assignee"}


@dataclass(frozen=True)
class _Holders:
    """Who holds a permission."""

    everybody: bool = False
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()
    """Fields of the issue that name a further user."""

    def access(self, issue: Object) -> Access | None:
        if self.everybody:
            return None
        named = frozenset[str]().union(*(user_names(at(issue, "fields", field)) for field in self.fields))
        return access_lists.listed(self.users | named, self.groups)


class JiraAccess:
    """Asks once per visit for each project, level, role and group."""

    def __init__(self, api: AtlassianApi, version: int, told_before: frozenset[str] = frozenset()) -> None:
        self._api = api
        self._told_before = told_before
        self._root = f"/rest/api/{version}"
        self._browse: dict[str, _Holders | None] = {}
        self._levels: dict[tuple[str, str], _Holders | None] = {}
        self._roles: dict[tuple[str, str], _Holders] = {}
        self._members: dict[str, frozenset[str] | None] = {}

    async def of(self, issue: Object) -> Access | None:
        """Who may read an issue, by its `project`, `security`, `reporter` and `assignee`. None: the API does not say.

        Raises `PlaceUnreachable` when the server fails; a failure must not look like a permission.
        """
        project = identity(issue, "fields", "project", "key")
        if project not in self._browse:
            self._browse[project] = await self._read_browse(project)
        holders = self._browse[project]
        if holders is None and project in self._told_before:
            return NOBODY
        browse = holders.access(issue) if holders else None
        security = at(issue, "fields", "security")
        if security is None:
            return browse
        level = identity(security, "id")
        if (project, level) not in self._levels:
            self._levels[project, level] = await self._read_level(project, level) if level else None
        held = self._levels[project, level]
        if held is None:
            return NOBODY
        return await self._both(browse, held.access(issue))

    @property
    def told(self) -> frozenset[str]:
        """Projects that say who may browse them. One that did and no longer does is nobody's: an account that loses its rights, or a
        server in trouble, must not open what was closed."""
        return self._told_before | {project for project, holders in self._browse.items() if holders is not None}

    async def _read_browse(self, project: str) -> _Holders | None:
        scheme = await self._find(f"{self._root}/project/{project}/permissionscheme", {"expand": "all"})
        if scheme is None:
            log.info("project_permissions_not_told", project=project)
            return None
        granted = [each for each in objects(scheme, "permissions") if text(each, "permission") == "BROWSE_PROJECTS"]
        return await self._holders([each.get("holder") for each in granted], project)

    async def _read_level(self, project: str, level: str) -> _Holders | None:
        holders: list[Any] = []
        while len(holders) < MAX_MEMBERS:
            page = await self._find(
                f"{self._root}/issuesecurityschemes/level/member",
                {"levelId": level, "expand": "all", "startAt": str(len(holders)), "maxResults": "100"},
            )
            if page is None:
                log.warning("security_level_not_told", project=project, level=level)
                return None
            # A server that does not know `levelId` would answer with the members of every level.
            values = objects(page, "values")
            if any(identity(value, "issueSecurityLevelId") != level for value in values):
                return None
            holders += [value.get("holder") for value in values]
            if not values or at(page, "isLast") is True or len(holders) >= (number(page, "total") or 0):
                break
        return await self._holders(holders, project)

    async def _holders(self, holders: list[Any], project: str) -> _Holders:
        everybody = False
        users: frozenset[str] = frozenset()
        groups: frozenset[str] = frozenset()
        fields: frozenset[str] = frozenset()
        for holder in holders:
            kind = text(holder, "type")
            if kind in _EVERYBODY:
                everybody = True
            elif kind == "user":
                users |= user_names(at(holder, "user")) or user_names({"accountId": text(holder, "parameter")})
            elif kind == "group":
                groups |= group_names(at(holder, "group")) or group_names({"name": text(holder, "parameter")})
            elif kind == "projectRole":
                role = await self._role(project, identity(holder, "parameter") or identity(holder, "projectRole", "id"))
                users, groups = users | role.users, groups | role.groups
            elif kind in _OF_THE_ISSUE:
                fields |= {_OF_THE_ISSUE[kind]}
            # Others (a project's lead, fields of one's own) are not looked into: whoever they stand for is left out.
        return _Holders(everybody, users, groups, fields)

    async def _role(self, project: str, role: str) -> _Holders:
        if not role:
            return _Holders()
        if (project, role) not in self._roles:
            said = await self._find(f"{self._root}/project/{project}/role/{role}", {})
            users: frozenset[str] = frozenset()
            groups: frozenset[str] = frozenset()
            for actor in objects(said, "actors"):
                users |= user_names(at(actor, "actorUser"))
                groups |= group_names(at(actor, "actorGroup"))
            self._roles[project, role] = _Holders(False, users, groups)
        return self._roles[project, role]

    async def _both(self, browse: Access | None, level: Access | None) -> Access | None:
        """Who is held by both. Where their groups differ, members of both are named one by one, if the API tells them."""
        either = access_lists.both(browse, level)
        if browse is None or level is None or AccessLevel.LISTED not in (browse.level, level.level) or NOBODY in (browse, level):
            return either
        shared = browse.groups & level.groups
        one, other = await self._people(browse, shared), await self._people(level, frozenset())
        also = await self._people(browse, frozenset()) & await self._people(level, shared)
        return access_lists.listed((one & other) | also, shared)

    async def _people(self, access: Access, without: frozenset[str]) -> frozenset[str]:
        people = access.users
        for group in sorted(access.groups - without):
            if group not in self._members:
                self._members[group] = await self._read_members(group)
            people |= self._members[group] or frozenset()
        return people

    async def _read_members(self, group: str) -> frozenset[str] | None:
        people: frozenset[str] = frozenset()
        read = 0
        while read < MAX_MEMBERS:
            params = {"groupname": group, "startAt": str(read), "maxResults": "100"}
            page = await self._find(f"{self._root}/group/member", params)
            if page is None:
                return None
            values = objects(page, "values")
            people = people.union(*(user_names(value) for value in values))
            read += len(values)
            if not values or at(page, "isLast") is True or read >= (number(page, "total") or 0):
                break
        return people

    async def _find(self, path: str, params: dict[str, str]) -> Any:
        try:
            return await self._api.find(path, params, absent=_HIDDEN)
        except PlaceRefused:
            return None  # a login page, or a status nobody expects here, tells nothing
