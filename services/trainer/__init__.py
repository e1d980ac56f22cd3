"""Owns datasets, training jobs, evaluations and adapters: examples in, a gated adapter out. Never answers questions, never reads documents.

This version keeps nothing yet: its lists are empty, and everything else says so with UNIMPLEMENTED.
"""
