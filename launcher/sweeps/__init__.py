"""Many runs planned together: a grid of values, what is missing of it, and who runs it."""
