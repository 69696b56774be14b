"""The graph of the steps, the recipes, and the ways to compile, run and submit it."""
