"""From texts to tokens: tokenizer, cache, gathering, masking."""
