"""From documents of text to a folder of tokens: reading, holding out, encoding, shards, and the folder they make."""
