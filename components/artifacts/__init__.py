"""What passes between steps: storage by URI, manifests, document shards, token shards, rows.

This room imports nothing of codekiln's. Every other room talks through it.
"""
