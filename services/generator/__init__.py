"""Question, passages and memory to a cited answer.

Owns the prompt, the engine that writes, the citations, the refusal and the memory of conversations. Never reads a document store and
never embeds: passages come from the retriever over gRPC, and without it there is no answer.
"""
