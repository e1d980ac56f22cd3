# What `helm test` runs: a document is brought in, a question is asked, the answer must cite the document.
set -eu
corpus="helm-test-$(date +%s)"
mkdir -p /tmp/test
cd /tmp/test
cat > falcon.md <<'DOCUMENT'
# Falcon X200

The Falcon X200 has a warranty period of 36 months. Batteries are covered for 12 months.
DOCUMENT
corella corpora create "$corpus"
trap 'corella corpora delete --force "$corpus"' EXIT
corella ingest --corpus "$corpus" --base-url https://docs.example/ falcon.md
corella ask --corpus "$corpus" --json "How long is the warranty of the Falcon X200?" | tee answer.jsonl
if ! grep -Eq '"citations": ?\[\{"number": ?1, "uri": ?"https://docs\.example/falcon\.md' answer.jsonl; then
  echo "The answer cites nothing: retriever, embedder and stores work, the generator's answer was not supported by what was found." >&2
  exit 1
fi
echo "The answer cites the document."
