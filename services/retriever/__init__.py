"""The retriever service: documents to chunks, chunks to passages.

Owns corpora, documents, their chunks and vectors, and every way of finding them. Never computes a vector (the embedder does), never
writes an answer (the generator does), and keeps no state of its own: Milvus, Redis and the blob store do.
"""
