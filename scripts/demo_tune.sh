#!/usr/bin/env bash
# Builds a dataset, tunes, judges through the serving path, serves what was accepted, and asks the same questions before and after.
# Without DATA: on samples/. With DATA=…/squad-v2.0-dev or DATA=…/ft-e2e-nlg: on that set, into an adapter of its own that does not serve.
set -euo pipefail
cd "$(dirname "$0")/.."
corella() { .venv/bin/corella "$@"; }
step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
id_of() { .venv/bin/python -c 'import json, sys; print(json.load(sys.stdin)["name"])'; }

SET=$(basename "${DATA:-samples}")
WORK=.corella/demo/$SET
REPORT=${REPORT:-reports/demo-$SET}
mkdir -p "$WORK"

# Whoever had it running before wants it running afterwards.
if ! corella status --json 2>/dev/null | grep -q '"supervisor_alive": true'; then
  trap 'step "Stopping"; corella down' EXIT
fi

step "Starting everything on 127.0.0.1"
corella up --detach

QUESTIONS=()
OPTIONS=(--adapter "demo-${SET//[^a-z0-9]/-}" --hold)
case $SET in
  samples)
    step "Ingesting samples/, and making examples of its questions: half to learn from, half held back"
    corella ingest samples/pages samples/tickets
    .venv/bin/python -m bench.tuning_sets samples samples "$WORK/examples.jsonl"
    QUESTIONS=("How long is the warranty of the Murrow Deep?" "How many readings can the Ondel L5 store?" "Who founded the company, and in which year?")
    OPTIONS=(--adapter default)
    ;;
  squad-*)
    step "Ingesting the paragraphs of $SET, and making examples of its questions"
    .venv/bin/python -m bench.tuning_sets squad "$DATA" "$WORK/examples.jsonl" --pages "$WORK/pages"
    corella corpora create squad >/dev/null 2>&1 || true
    corella ingest --corpus squad "$WORK/pages"
    ;;
  *e2e*)
    step "Making examples of $SET: attributes of a venue and how it is described"
    .venv/bin/python -m bench.tuning_sets e2e "$DATA" "$WORK/examples.jsonl"
    OPTIONS+=(--gate-metric text_bleu)
    ;;
  *) echo "DATA=$DATA is none of the sets this demonstration knows (squad-v2.0-dev, ft-e2e-nlg)." >&2; exit 2 ;;
esac

step "Making the dataset"
DATASET=$(corella datasets create "$WORK/examples.jsonl" --name "$SET" --json | id_of)
if [ "$SET" = samples ]; then
  step "Adding examples that the served model writes about the documents"
  DATASET=$(corella datasets build --dataset "$DATASET" --corpus default --examples "${EXAMPLES:-90}" --name "$SET, with written examples" --json | id_of)
fi
corella datasets show "$DATASET"

ask_all() {
  for question in "${QUESTIONS[@]}"; do
    printf '\n> %s\n' "$question"
    corella ask "$@" "$question"
  done
}

if [ ${#QUESTIONS[@]} -gt 0 ]; then
  step "Before: the base model answers"
  ask_all --adapter base
fi

step "Training, judging, and serving if it is better"
status=0
# shellcheck disable=SC2086  # several options may be given
corella train "$DATASET" "${OPTIONS[@]}" --output "$REPORT" ${TRAIN_OPTIONS:-} || status=$?
[ "$status" -eq 0 ] || [ "$status" -eq 3 ] || exit "$status"

if [ ${#QUESTIONS[@]} -gt 0 ]; then
  step "After: what serves answers"
  sleep 5 # generators follow within that time
  corella adapters serving
  ask_all
  step "What a question costs"
  corella cost --picture "$REPORT/cost-per-question.png"
fi
printf '\nThe report is in %s; all of it took %d s.\n' "$REPORT" "$SECONDS"
exit "$status"
