#!/usr/bin/env bash
# Starts everything, ingests samples/, answers a question; in a terminal goes on asking, elsewhere stops everything again.
set -euo pipefail
cd "$(dirname "$0")/.."
corella() { .venv/bin/corella "$@"; }
step() { printf '\n\033[1m%s\033[0m\n' "$*"; }

QUESTION=${QUESTION:-How long is the warranty of the Ondel L5?}

# Whoever had it running before wants it running afterwards.
if corella status --json 2>/dev/null | grep -q '"supervisor_alive": true'; then
  trap - EXIT
else
  trap 'step "Stopping"; corella down' EXIT
fi

step "Starting store, queue and services on 127.0.0.1"
corella up --detach --wait-for retriever --wait-for worker

# The model takes longest to load; documents can be read meanwhile.
step "Ingesting samples/: pages, tickets and files of a small company"
corella ingest samples/pages samples/tickets samples/files

step "Waiting for the model"
corella up --detach

step "Asking: $QUESTION"
corella ask "$QUESTION"
printf '\nAnswered %d s after the start.\n' "$SECONDS"

if [ -t 0 ] && [ -t 1 ]; then
  step "Your turn"
  corella ask
fi
