# Corella's commands. `make` alone lists them. Python 3.11 with venv, make, git and libnuma1 are needed;
# `make setup` says which of them is missing and brings the rest into .venv.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Where this is set, as in many containers, every start would compile torch and vLLM anew: 15 s in each process.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help setup models run demo-tune test test-long chart-tools chart-test chart-render dashboards image-locks images lint format proto bench bench-embed bench-ask bench-train bench-adapters bench-permissions bench-ingest bench-lazy bench-sync bench-headings bench-company bench-telemetry bench-gpu eval clean

VENV := .venv
BIN := $(VENV)/bin
# Files a test names: `make test TESTS=tests/unit/trainer`.
TESTS ?= tests
PYTEST_OPTIONS ?=
# The first test set named in DATA, for a measurement that cannot do without.
data_folder = $(or $(firstword $(DATA)),$(error make $(1) needs a test set: make $(1) DATA=FOLDER))

help: ## List these commands
	@echo 'make <command>'
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv from requirements/cpu.txt and prepare the models (nothing to do when they are current)
	@scripts/setup.sh

models: setup ## Prepare the models again, when a folder of .corella/models was removed
	@$(BIN)/python -m corella.local.prepare_models

run: setup ## Start everything, ingest samples/, answer a question; in a terminal, go on asking
	@scripts/run.sh

demo-tune: setup ## Build a dataset from samples/, tune, judge, serve, and ask again (DATA=…/squad-v2.0-dev or …/ft-e2e-nlg tunes on that)
	@scripts/demo_tune.sh

# A test that needs a tool that could not be had says so itself.
test: setup ## Unit, contract, chart and end-to-end tests on real parts (TESTS=… chooses)
	@scripts/chart_tools.sh || true
	@MARKS='not long' scripts/test.sh $(PYTEST_OPTIONS) $(TESTS)

test-long: setup ## All tests, also those that take many minutes
	@scripts/chart_tools.sh || true
	@MARKS='e2e or not e2e' scripts/test.sh $(PYTEST_OPTIONS) $(TESTS)

chart-tools: setup ## Fetch helm, kubectl, promtool and prometheus into .venv/tools, without root
	@scripts/chart_tools.sh

chart-test: chart-tools ## Lint and render the chart, judge every rendering, start the laptop profile as processes and ask it a question
	@$(BIN)/pytest -m '' $(PYTEST_OPTIONS) tests/chart

chart-render: chart-tools ## Write the schema of the chart's values and examples/*/rendered.yaml anew
	@deploy/helm/render.sh

dashboards: setup ## Write Grafana's dashboards, the alerts of the objectives, and pictures of the layout from deploy/dashboards
	@$(BIN)/python -m deploy.dashboards

image-locks: setup ## Write requirements/image-*.txt anew from requirements/cpu.txt
	@$(BIN)/python scripts/image_requirements.py

images: ## Build the images (IMAGES="embedder …", BASE=python:3.11-slim-bookworm@sha256:…, BUILDER=docker|podman|buildah)
	@BASE="$(BASE)" BUILDER="$(BUILDER)" scripts/build_images.sh $(IMAGES)

lint: setup ## Formatting, ruff, mypy, buf and helm lint, breaking changes since the last tag, generated code
	@scripts/lint.sh

format: setup ## Rewrite the code in the house's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

proto: setup ## Generate corella/v1 from proto/
	@$(BIN)/python -m grpc_tools.protoc -I proto --python_out=. --pyi_out=. --grpc_python_out=. proto/corella/v1/*.proto
	@git status --short corella/v1

bench: setup ## Every measurement beside its alternative, kept in bench/results/ (with DATA="FOLDER…" also those of ingestion)
	@$(MAKE) --no-print-directory bench-embed bench-ask bench-train bench-adapters bench-permissions bench-headings bench-telemetry $(if $(DATA),bench-ingest bench-lazy bench-sync)

bench-embed: setup ## Embedder beside sentence-transformers
	@$(BIN)/python -m bench.embed

bench-ask: setup ## Generator beside bare vLLM
	@$(BIN)/python -m bench.ask

bench-train: setup ## Trainer beside TRL's SFTTrainer, and two workers beside one
	@$(BIN)/python -m bench.train

bench-adapters: setup ## What serving an adapter costs, beside the base model and a merged one
	@$(BIN)/python -m bench.adapters --output bench/results/adapters.md

bench-gpu: setup ## Training, writing and adapters with a model of 7 billion random parameters, on one GPU of 80 GB
	@$(BIN)/python -m bench.gpu

bench-permissions: setup ## What it costs a search to go by who may read what, at 50,000 chunks and 200 groups
	@$(BIN)/python -m bench.permissions --output bench/results/permissions.md

bench-ingest: setup ## Ingestion beside LlamaIndex's, and beside the embedder alone, on the pages in DATA=FOLDER
	@$(BIN)/python -m bench.ingest $(call data_folder,bench-ingest)

bench-lazy: setup ## Lazy corpora beside eager ones: time to searchable, quality and latency as they warm, on the pages in DATA=FOLDER
	@$(BIN)/python -m bench.lazy $(call data_folder,bench-lazy)

bench-sync: setup ## Syncs of a directory: the first, of unchanged pages, of one changed page, on the pages in DATA=FOLDER
	@$(BIN)/python -m bench.sync $(call data_folder,bench-sync)

bench-telemetry: setup ## What traces and metrics cost: questions, searches, embedding
	@$(BIN)/python -m bench.telemetry

bench-company: setup ## Everything at once: directories, a Jira project and hostile files, from the sets in DATA="FOLDER…"
	@$(BIN)/python -m bench.company $(or $(DATA),$(error make bench-company needs test sets: make bench-company DATA="FOLDER…"))

bench-headings: setup ## Whether title and headings in what is indexed help, on samples/ and the sets in DATA="FOLDER…"
	@$(BIN)/python -m bench.headings $(DATA)

eval: setup ## Answers to the sample questions against gold; retrieval too on the sets in DATA="FOLDER…"
	@DATA="$(DATA)" scripts/eval.sh

clean: ## Remove everything made here: .venv, .corella (documents, models, logs), caches
	@if [ -x $(BIN)/corella ]; then $(BIN)/corella down --quiet || true; fi
	rm -rf $(VENV) .corella .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
