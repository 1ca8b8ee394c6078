"""The card that goes with a model: what it is, how it was made, how good it is, and how it is used."""
