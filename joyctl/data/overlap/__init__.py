"""Which test items stand in the training data: n-grams of words, found in the token ids themselves."""
