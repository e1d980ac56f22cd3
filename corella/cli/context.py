"""What every command knows: the folder of the local run, and where the services are."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corella.tracing.recorder import CommandTrace

if TYPE_CHECKING:
    from corella.client import Addresses, Corella
    from corella.tracing.endpoint import OtlpEndpoint

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
    certificate_file: Path | None = None
    key_file: Path | None = None
    server_name: str = ""
    as_user: str = ""
    as_groups: str = ""
    as_tenant: str = ""
    """For whom to call; see `corella.client.Acting`."""
    trace: CommandTrace = field(default_factory=lambda: CommandTrace("corella"))
    """Of this command; its calls belong to it."""

    def addresses(self) -> Addresses:
        """Where the services are: as given, else where this home's local run put them, else the defaults."""
        from corella.client import Addresses
        from corella.local.home import Home

        return replace(Addresses(), **{**Home(self.home).addresses(), **self.given})

    def client(self) -> Corella:
        """A client for them. Close it."""
        from corella.cli.failures import USAGE, UserError
        from corella.client import Acting, Corella, EncryptionIncomplete

        try:
            token = self.token_file.read_text().strip() if self.token_file else None
            acting = Acting.of(self.as_user, self.as_groups, self.as_tenant)
            self.trace.open(self._otlp_endpoint())
            return Corella(
                self.addresses(),
                token=token,
                ca_file=self.ca_file,
                certificate_file=self.certificate_file,
                key_file=self.key_file,
                server_name=self.server_name,
                acting=acting,
                observer=self.trace,
            )
        except OSError as error:
            hint = "Look at CORELLA_TOKEN_FILE, CORELLA_CA_FILE, CORELLA_CERTIFICATE_FILE and CORELLA_KEY_FILE."
            raise UserError(f"{error.filename}: {error.strerror}", hint=hint) from error
        except EncryptionIncomplete as error:
            raise UserError(f"{error}.", hint="docs/security.md shows which files go together.", exit_code=USAGE) from error

    def is_local(self) -> bool:
        """Whether every service called is one of the local run."""
        from corella.local.home import Home

        here = Home(self.home).addresses()
        return all(here.get(name) == address for name, address in self.given.items())

    def _otlp_endpoint(self) -> OtlpEndpoint | None:
        from corella.local.home import Home
        from corella.tracing.endpoint import chosen_endpoint

        run = Home(self.home).read()
        # Services elsewhere send their spans elsewhere: the local store would hold the beginning of a trace, and nothing else of it.
        return chosen_endpoint(run.otlp_endpoint if run is not None and self.is_local() else None)


def session(ctx: typer.Context) -> Session:
    """The session of a command."""
    found: Any = ctx.find_root().obj
    made = found if isinstance(found, Session) else Session(home=default_home())
    # Whatever the program was started as: `corella documents list`.
    made.trace.name = " ".join(["corella", *ctx.command_path.split()[1:]])
    return made


def default_home() -> Path:
    """`CORELLA_HOME`, else `.corella` in the current folder."""
    return Path(os.environ.get("CORELLA_HOME") or ".corella")
