"""Clean: rules that keep or drop a document, each drop counted with its reason."""
