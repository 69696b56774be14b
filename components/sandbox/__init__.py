"""Run generated programs in a worker that survives them, and say what became of each."""
