"""What a user may ask for: one strict, frozen section a file, the cluster profile, and contradictions within a recipe."""

MOST_BYTES = 1_000_000
"""A recipe, or a profile of a cluster, is some KiB; a larger file is none."""
