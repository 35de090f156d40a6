"""Pure reading of results: scores, paired deltas, tables."""
