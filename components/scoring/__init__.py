"""Turn verdicts into pass@k with intervals, and measure how many lines of a model parse."""
