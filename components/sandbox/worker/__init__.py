"""The worker that runs untrusted programs: it imports the standard library and itself only."""
