"""The embedder: turns text into vectors, and orders texts by how well they answer a query.

It owns one embedding model, optionally one reranking model, and the queue before them: calls of many clients are computed together.
It keeps nothing between calls, knows no corpus and no document, and never cuts a text without saying so.
"""
