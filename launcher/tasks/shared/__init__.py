"""What several tasks use: their base, rows, labels, words with tags, and findings."""
