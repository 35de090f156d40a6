"""The seam to lm-eval: the only package that imports it."""
