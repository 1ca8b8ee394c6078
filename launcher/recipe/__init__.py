"""What a user may ask for: one strict, frozen section a file, the cluster profile, and contradictions within a recipe."""
