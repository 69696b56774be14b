"""Turn verdicts into pass@k with intervals, and continuations into the share of lines that parse."""
