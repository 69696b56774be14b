"""The packing step: documents become token shards, split by repository."""
