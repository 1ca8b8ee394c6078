"""From files, environment and command line to one recipe, with the origin of every value and all mistakes at once."""
