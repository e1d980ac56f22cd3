"""The retriever service: documents to chunks, chunks to passages."""
