"""Names of everything on disk, atomic writes, fingerprints and locks."""
