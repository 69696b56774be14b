"""Benchmarks of programming problems: HumanEval, the easy set and local files."""
