"""Pure planning: mixes, schedule, variants, segments, fingerprints. Takes values, gives values."""
