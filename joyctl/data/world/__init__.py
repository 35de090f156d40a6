"""The micro-world: four text sources, a tokenizer and benchmarks, all from one seed, offline.

Nothing here reads the machine, the clock or the Python version: every choice comes from `stream.Stream`,
every word from this package's own lists and grammars, so equal seeds give equal bytes everywhere.
"""
