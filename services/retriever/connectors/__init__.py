"""How places are read that documents come from: directories, the web, Jira, Confluence. One module each, one port for all.

A connector knows its place and nothing of corpora, Redis or Milvus; what to do with what it finds is `services/retriever/syncing.py`'s.
"""
