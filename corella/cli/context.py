"""What every command knows: the folder of the local run, and where the services are."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from corella.client import Addresses, Corella

Json = Annotated[bool, typer.Option("--json", help="Write JSON: one object, or one object a line.")]
CorpusOption = Annotated[str, typer.Option("--corpus", "-c", envvar="CORELLA_CORPUS", help="Id of the corpus.")]
DEFAULT_CORPUS = "default"


@dataclass(frozen=True)
class Session:
    """The options given before the command."""

    home: Path
    given: dict[str, str] = field(default_factory=dict)
    """Addresses given as options or in the environment, by service."""
    token_file: Path | None = None
    ca_file: Path | None = None
    as_user: str = ""
    as_groups: str = ""
    as_tenant: str = ""
    """For whom to call; see `corella.client.Acting`."""

    def addresses(self) -> Addresses:
        """Where the services are: as given, else where this home's local run put them, else the defaults."""
        from corella.client import Addresses
        from corella.local.home import Home

        return replace(Addresses(), **{**Home(self.home).addresses(), **self.given})

    def client(self) -> Corella:
        """A client for them. Close it."""
        from corella.cli.failures import UserError
        from corella.client import Acting, Corella

        try:
            token = self.token_file.read_text().strip() if self.token_file else None
            acting = Acting.of(self.as_user, self.as_groups, self.as_tenant)
            return Corella(self.addresses(), token=token, ca_file=self.ca_file, acting=acting)
        except OSError as error:
            raise UserError(f"{error.filename}: {error.strerror}", hint="Look at CORELLA_TOKEN_FILE and CORELLA_CA_FILE.") from error


def session(ctx: typer.Context) -> Session:
    """The session of a command."""
    found: Any = ctx.find_root().obj
    return found if isinstance(found, Session) else Session(home=default_home())


def default_home() -> Path:
    """`CORELLA_HOME`, else `.corella` in the current folder."""
    return Path(os.environ.get("CORELLA_HOME") or ".corella")
