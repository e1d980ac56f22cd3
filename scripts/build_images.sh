#!/usr/bin/env bash
# Builds the images named, or all: BASE=… scripts/build_images.sh [IMAGE…]. See docs/images.md.
#
#   BASE        the base image, with its digest
#   BUILDER     docker, podman or buildah; empty: the first of them that is there
#   REGISTRY    what stands before the images' names; empty: corella
#   TAG         their tag; empty: the version in pyproject.toml
#   PIP_CONF    a pip.conf for the build alone, for an index of one's own; empty: pip's defaults
#   TORCH_INDEX index with torch's CPU build, asked only where the package index has none; unset: as scripts/setup.sh, empty: none
#   BUILD_OPTIONS  further options of the builder
set -euo pipefail
cd "$(dirname "$0")/.."

die() { printf '%s\n' "$@" >&2; exit 1; }

[ -n "${BASE:-}" ] || die "Say on which image to build, with its digest: make images BASE=python:3.11-slim-bookworm@sha256:…" \
  "The digest is what the registry shows for the tag you have looked at."
case $BASE in *@sha256:*) ;; *) printf '%s\n' "$BASE has no digest: what is built from it today cannot be built again once the tag has moved." >&2 ;; esac

builder=${BUILDER:-}
for candidate in docker podman buildah; do
  [ -z "$builder" ] && command -v "$candidate" >/dev/null && builder=$candidate
done
[ -n "$builder" ] || die "Neither docker, podman nor buildah is on PATH."

torch_index=${TORCH_INDEX-$(sed -n 's/.*--index-url \([^ ]*\) .*/\1/p' scripts/setup.sh)}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || true)
[ $# -gt 0 ] || set -- embedder retriever generator-cpu generator-gpu trainer ray-node models

for image in "$@"; do
  [ -f "requirements/image-$image.txt" ] || die "There is no image $image: requirements/image-$image.txt is missing."
  name=${REGISTRY:-corella}/$image:${TAG:-$version}
  printf '\033[1m%s\033[0m\n' "$name" >&2
  # shellcheck disable=SC2086
  "$builder" build ${BUILD_OPTIONS:-} -f deploy/docker/Dockerfile -t "$name" \
    --build-arg BASE="$BASE" --build-arg SERVICE="$image" --build-arg VERSION="$version" --build-arg REVISION="$revision" \
    --build-arg TORCH_INDEX="$torch_index" ${PIP_CONF:+--secret id=pip,src="$PIP_CONF"} .
done
