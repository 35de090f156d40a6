"""Recipes and clusters: types, loading by Hydra, errors with their place, JSON Schema."""
