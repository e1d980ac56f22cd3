#!/usr/bin/env bash
# The tests that MARKS admits, as pytest takes them (-m): first all but the end-to-end tests, two at a time, because most of them wait for a
# server more than they compute; then the end-to-end tests, which have the machine for themselves. Three at a time are 50 s quicker, but
# two cores are then so busy that time-outs run out.
#
# Usage: MARKS='not long' scripts/test.sh [PYTEST ARGUMENT …] [FILE …]
set -uo pipefail
cd "$(dirname "$0")/.."

NO_TESTS=5 # pytest's exit status where nothing was chosen: files may hold one kind only
marks=${MARKS:-not long}
failed=0 ran=0

run() {
  .venv/bin/pytest "$@"
  local status=$?
  [ "$status" = "$NO_TESTS" ] && return
  ran=1
  [ "$status" = 0 ] || failed=$status
}

run -m "($marks) and not e2e" -n 2 --dist loadscope --no-loadscope-reorder "$@"
run -m "($marks) and e2e" "$@"
[ "$ran" = 1 ] || exit "$NO_TESTS"
exit "$failed"
