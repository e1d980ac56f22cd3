#!/usr/bin/env bash
# Everything that can be said about the code without running it. All checks run; one that fails makes the whole fail.
set -uo pipefail
cd "$(dirname "$0")/.."
BIN=$PWD/.venv/bin
failed=()

check() {
  local name=$1
  shift
  printf '\033[1m%s\033[0m\n' "$name"
  "$@" || failed+=("$name")
}

check "ruff format" "$BIN/ruff" format --check .
check "ruff check" "$BIN/ruff" check .
check "mypy" "$BIN/mypy"
check "buf lint" "$BIN/buf" lint proto
if tag=$(git describe --tags --abbrev=0 2>/dev/null); then
  check "buf breaking, against $tag" "$BIN/buf" breaking proto --against ".git#tag=$tag,subdir=proto"
else
  echo "buf breaking: there is no tag yet to compare the contracts with"
fi
helm_lint() {
  scripts/chart_tools.sh || return 1
  for profile in laptop one-gpu cluster; do
    .venv/tools/helm lint --strict --quiet deploy/helm/corella -f "deploy/helm/corella/examples/$profile/values.yaml" || return 1
  done
}
check "helm lint" helm_lint
check "generated code is current" "$BIN/pytest" -q -p no:cacheprovider tests/contract/test_generated_code_is_current.py

if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}" >&2
  exit 1
fi
echo "all checks passed"
