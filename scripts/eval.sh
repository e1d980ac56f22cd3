#!/usr/bin/env bash
# Measures answers on the sample questions, and retrieval on the test sets named in DATA (folders in BEIR's form).
# Uses the stack that runs here; if none does, one is started for it and stopped afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."
corella() { .venv/bin/corella "$@"; }

if ! corella status --json 2>/dev/null | grep -q '"supervisor_alive": true'; then
  trap 'corella down' EXIT
fi
corella up --detach
corella eval answers samples --output bench/results/answers.md
if [ -n "${DATA:-}" ]; then
  # shellcheck disable=SC2086  # several folders may be named
  corella eval retrieval $DATA --output bench/results/retrieval.md
fi
