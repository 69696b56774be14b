"""Drop documents that hold a benchmark's problems; say where and by which rule."""
