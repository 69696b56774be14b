"""The tokenizer step: train a byte-level BPE on the documents, or extend a given vocabulary."""
