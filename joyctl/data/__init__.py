"""Tokenised shards, the order of rows, and the micro-world."""
