"""Let a model write: samples for benchmark problems, continuations of held-out code."""
