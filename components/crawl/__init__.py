"""Crawl: find source files, with the provenance of each, and shard them."""
