"""Train a GPT-Neo on token shards and measure it on the held-out documents."""
