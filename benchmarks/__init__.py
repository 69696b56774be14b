"""A program per comparison with a peer: each prints a table and, as its last line, one JSON object.

Run one as `python -m benchmarks.<name>`, all with `make bench`. Peers run in the same command, at
their own best setting. Times are CPU seconds of the process and its children unless a column says
wall. Nothing here is asserted: a figure is for people to read.
"""
