"""What went wrong, in words and as an exit status. No command ever shows a traceback.

Exit statuses: 0 done, 1 failed, 2 used wrongly, 3 a service cannot be reached, 130 interrupted. Commands that wait for the judgement on a
training end with 3 when it was rejected, and only then: a trainer that cannot be reached is a 1 there.
"""

from __future__ import annotations

import os
import sys
from typing import Any

FAILED, USAGE, UNREACHABLE = 1, 2, 3
REJECTED = 3

_WHAT_TO_DO = {
    "TOKEN_MISSING": "Set CORELLA_TOKEN_FILE to a file that holds your token.",
    "TOKEN_INVALID": "Look at the token in CORELLA_TOKEN_FILE; whoever runs the services can give you a new one.",
    "TOKEN_EXPIRED": "Sign in again, and put the new token into the file CORELLA_TOKEN_FILE names.",
    "ROLE_MISSING": "docs/access.md lists the roles; whoever runs the services can give you one.",
    "ACTING_NOT_ALLOWED": "Leave out --as-user, --as-groups and --as-tenant, and unset CORELLA_AS_USER, _AS_GROUPS and _AS_TENANT.",
    "CORPUS_NOT_FOUND": "`corella corpora list` shows what is there; `corella ingest PATH` makes a corpus and fills it.",
    "CORPUS_NOT_EMPTY": "Give --force to delete its documents as well.",
    "DOCUMENT_NOT_FOUND": "`corella documents list` shows what is there.",
    "SOURCE_NOT_FOUND": "`corella sources list` shows what is there.",
    "SOURCE_EXISTS": "Choose another id, or change that one: `corella sources update ID`.",
    "SOURCE_PAUSED": "`corella sources resume ID` takes it up again.",
    "SOURCE_NOT_ALLOWED": "Whoever runs the retriever allows directories with `import_roots` and secrets with `secrets_folder`.",
    "SOURCE_SECRET_MISSING": "Whoever runs the retriever puts secrets as files into its `secrets_folder`.",
    "OPERATION_NOT_FOUND": "`corella operations list` shows what is there; operations are forgotten seven days after their end.",
    "EMBEDDING_MODEL_MISMATCH": "Ask with --mode keyword, have the former model served beside this one, or `corella corpora reindex ID`.",
    "REINDEX_NOT_NEEDED": "Give --force to build it all the same.",
    "REINDEX_UNDER_WAY": "`corella operations list` shows it; `corella operations cancel ID` stops it.",
    "NO_FORMER_INDEX": "`corella corpora show ID` shows the indexes; there is a former one after `corella corpora reindex ID`.",
    "SUMMARY_TOKEN_EXPIRED": "Begin a new conversation.",
    "ANSWER_NOT_FOUND": "Answers are kept for a while only; ask again, and give the name in the last line of the answer.",
    "DATASET_NOT_FOUND": "`corella datasets list` shows what is there.",
    "DATASET_NOT_READY": "`corella datasets show ID` tells how far it is, or why it could not be built.",
    "DATASET_IN_USE": "`corella jobs list` shows what uses it; `corella jobs cancel ID` stops it.",
    "JOB_NOT_FOUND": "`corella jobs list` shows what is there.",
    "REPORT_NOT_READY": "`corella jobs watch ID` waits for the end of the job.",
    "ADAPTER_NOT_FOUND": "`corella adapters list` shows what is there.",
    "ADAPTER_NOT_ACCEPTED": "`corella adapters list` shows which versions were accepted; the report of a job says why it was not.",
    "ADAPTERS_OFF": "This generator answers with its base model only.",
    "NOTHING_TO_ROLL_BACK": "`corella adapters serving` shows what serves and what served before.",
    "NOTHING_MEASURED": "The judgement on a training measures it: `corella train DATASET`.",
    "SCHEDULE_NOT_FOUND": "`corella schedules list` shows what is there.",
    "SCHEDULE_EXISTS": "Choose another id, or delete that one first: `corella schedules delete ID`.",
}


class UserError(Exception):
    """Something the person at the keyboard can mend."""

    def __init__(
        self, message: str, *, hint: str = "", exit_code: int = FAILED, reason: str = "", violations: list[tuple[str, str]] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        self.reason = reason
        self.violations = violations or []
        """(where, what is wrong) of each thing that is wrong."""


def report(error: BaseException, *, as_json: bool) -> int:
    """Writes what went wrong to standard error, or as JSON to standard output, and returns the exit status."""
    from corella.cli.output import clean, console, write_json

    told = describe(error)
    if as_json:
        write_json({"error": {key: value for key, value in told.items() if value not in ("", [], None)}})
    else:
        out = console(error=True)
        out.print(f"Error: {clean(told['message'])}" + (f" ({told['reason']})" if told["reason"] else ""), style="red")
        for violation in told["violations"]:
            out.print(f"  {clean(violation['field'])}: {clean(violation['description'])}")
        if told["retry_after_seconds"] is not None:
            out.print(f"Try again in {told['retry_after_seconds']:g} s.")
        if told["hint"]:
            out.print(told["hint"])
    return int(told["exit_code"])


def describe(error: BaseException) -> dict[str, Any]:
    """An error as plain values: message, code, reason, violations, retry_after_seconds, hint, exit_code."""
    import grpc

    told: dict[str, Any] = {
        "message": "", "code": "", "reason": "", "violations": [], "retry_after_seconds": None, "hint": "", "exit_code": FAILED,
    }  # fmt: skip
    if isinstance(error, UserError):
        told.update(message=error.message, hint=error.hint, exit_code=error.exit_code, reason=error.reason)
        told["violations"] = [{"field": field, "description": description} for field, description in error.violations]
    elif isinstance(error, grpc.RpcError):
        told.update(_of_rpc(error))
    elif isinstance(error, ModuleNotFoundError):
        # The client alone is a light package; the stack and the measurements bring theirs.
        told.update(message=f"The Python package {error.name} is not installed.", hint="Where Corella's sources are: make setup")
    elif isinstance(error, OSError):
        told.update(message=f"{error.filename}: {error.strerror}" if error.filename else str(error))
    else:
        told.update(message=f"{type(error).__name__}: {error}", hint="This is a fault of the program. CORELLA_DEBUG=1 shows where.")
    if os.environ.get("CORELLA_DEBUG"):
        import traceback

        sys.stderr.write("".join(traceback.format_exception(error)))
    return told


def _of_rpc(error: Any) -> dict[str, Any]:
    import grpc

    from corella.errors import RpcFailure

    failure = RpcFailure.from_rpc_error(error)
    told: dict[str, Any] = {
        "message": failure.message or failure.code.name,
        "code": failure.code.name,
        "reason": failure.reason,
        "violations": [{"field": field, "description": description} for field, description in failure.violations],
        "retry_after_seconds": failure.retry_after_seconds,
        "hint": _WHAT_TO_DO.get(failure.reason, ""),
    }
    if is_unreachable(failure):
        told.update(
            message="The service cannot be reached.",
            reason="UNREACHABLE",
            hint="`corella up` starts Corella on this machine, `corella status` shows what runs. "
            "Services elsewhere: set CORELLA_RETRIEVER, CORELLA_GENERATOR and CORELLA_TRAINER.\n"
            f"gRPC says: {failure.message}",
            exit_code=UNREACHABLE,
        )
    elif failure.code is grpc.StatusCode.UNAVAILABLE:
        told.update(hint="`corella status` shows what is missing.", exit_code=UNREACHABLE)
    elif failure.code is grpc.StatusCode.DEADLINE_EXCEEDED and not told["hint"]:
        told.update(hint="`corella status` shows what is busy.")
    return told


def is_unreachable(failure: Any) -> bool:
    """Whether nobody answered at all, as opposed to a service that says it lacks something."""
    return failure.code.name == "UNAVAILABLE" and not failure.reason
