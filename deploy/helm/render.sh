#!/usr/bin/env bash
# Renders the example profiles into examples/*/rendered.yaml, and the schema of the values from the services' settings; HELM names helm.
set -euo pipefail
cd "$(dirname "$0")/corella"
HELM=${HELM:-$PWD/../../../.venv/tools/helm}

(cd ../../.. && .venv/bin/python -m deploy.helm.values_schema)
for profile in laptop one-gpu cluster; do
  "$HELM" template corella . --namespace corella --kube-version 1.34 -f "examples/$profile/values.yaml" > "examples/$profile/rendered.yaml.new"
  mv "examples/$profile/rendered.yaml.new" "examples/$profile/rendered.yaml"
done
