#!/usr/bin/env bash
# Makes .venv from the lock and prepares the models. Does nothing when both are as the lock says.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=.venv
STAMP=$VENV/.lock-installed
TORCH=$(grep '^torch==' requirements/cpu.txt)

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
die() { printf '%s\n' "$@" >&2; exit 1; }

want=$(cat requirements/cpu.txt pyproject.toml | sha256sum | cut -d' ' -f1)
if [ "$(cat "$STAMP" 2>/dev/null || true)" != "$want $PWD" ]; then
  python=
  for candidate in ${PYTHON:-} python3.11 python3.12 python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))'; then
      python=$candidate
      break
    fi
  done
  [ -n "$python" ] || die "Python 3.11 or 3.12 is missing. Debian, Ubuntu: apt-get install python3.11 python3.11-venv. Or say where it is: make PYTHON=/path/to/python3.11"
  "$python" -c 'import ensurepip, venv' 2>/dev/null || die "$python has no venv module. Debian, Ubuntu: apt-get install $(basename "$python")-venv"
  # vLLM's CPU kernels are linked against it.
  "$python" -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null || die "The library libnuma.so.1 is missing. Debian, Ubuntu: apt-get install libnuma1"
  free_mib=$(df -Pm . | awk 'NR == 2 {print $4}')
  [ "$free_mib" -ge 6000 ] || [ -d "$VENV" ] || die "Too little room: 6 GB are needed here, $free_mib MB are free."

  say "Setting up: about 1.5 GB of Python packages to fetch (the two models among them), 4.5 GB on disk in $VENV, two to four minutes."
  [ -x "$VENV/bin/python" ] && "$VENV/bin/python" -c '' 2>/dev/null || "$python" -m venv --clear "$VENV"
  # Not compiled here: most of what is installed is never imported, and the rest is compiled, once, when it is.
  pip() { "$VENV/bin/python" -m pip --disable-pip-version-check -qq "$1" --no-compile "${@:2}"; }
  # torch's CPU build is not on the package index everywhere. Its own index is asked only where that is so: an index that cannot be
  # reached would slow down every later look-up.
  if ! "$VENV/bin/python" -c "import importlib.metadata as m, sys; sys.exit(m.version('torch') != '${TORCH#torch==}')" 2>/dev/null; then
    pip install --no-deps "$TORCH" 2>/dev/null || pip install --no-deps --index-url https://download.pytorch.org/whl/cpu "$TORCH"
  fi
  pip install --no-deps -r requirements/cpu.txt
  pip install --no-deps --no-build-isolation -e .
  say "Packages installed in $SECONDS s."
fi

"$VENV/bin/python" -m corella.local.prepare_models
# Last, so that whatever was interrupted is done again.
echo "$want $PWD" > "$STAMP"
