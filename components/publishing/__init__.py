"""Publishing: the model folder with its cards and provenance, and the report of the run."""
