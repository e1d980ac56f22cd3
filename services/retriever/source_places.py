"""From what is kept of a place to what a connector is opened with; secrets are read here, at the last moment.

Tenants share a machine, not its folders: the default tenant's directories and secrets are those of the settings, another tenant's lie in a
folder of its name within each of these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.chassis.identity import DEFAULT_TENANT
from services.retriever import directory_source
from services.retriever.connectors.connector import Connector
from services.retriever.connectors.places import ConfluencePlace, ConnectorSettings, DirectoryPlace, JiraPlace, Place, WebPlace
from services.retriever.secret_files import SecretFiles
from services.retriever.settings import RetrieverSettings
from services.retriever.source_domain import PlaceRecord


class Places:
    """Checks and opens places, by tenant."""

    def __init__(self, settings: RetrieverSettings) -> None:
        self._settings = settings

    def check(self, record: PlaceRecord, tenant: str) -> None:
        """Raises `SourceNotAllowed` or `InvalidArgument` for a place that cannot be read, `SecretMissing` for a secret that is not there.

        Reads the disk.
        """
        place = self.place(record, tenant)
        if isinstance(place, DirectoryPlace):
            directory_source.allowed(place.path, directory_source.roots_of(tenant, self._settings.import_roots))

    def open(self, record: PlaceRecord, tenant: str) -> Connector:
        """What reads the place. Raises as `check` does."""
        # Imported here: it brings what fetches pages, which the retriever itself never does.
        from services.retriever.connectors.opening import open_connector

        settings = self._settings
        told = ConnectorSettings(
            import_roots=tuple(directory_source.roots_of(tenant, settings.import_roots)),
            allowed_hosts=settings.fetch.allowed_hosts,
            document_max_bytes=settings.limits.document_max_bytes,
        )
        return open_connector(self.place(record, tenant), told)

    def place(self, record: PlaceRecord, tenant: str) -> Place:
        """The place with its secret."""
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in record.values.items()}
        if "token" in values:
            folder = self._settings.secrets_folder
            own = folder if folder is None or tenant == DEFAULT_TENANT else folder / tenant
            values["token"] = SecretFiles(own).read(values["token"])
        kinds: dict[str, Callable[..., Place]] = {
            "directory": DirectoryPlace,
            "web": WebPlace,
            "jira": JiraPlace,
            "confluence": ConfluencePlace,
        }
        return kinds[record.kind](**values)
