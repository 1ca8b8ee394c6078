"""Building the encoder with its head, adapters, and writing it."""
