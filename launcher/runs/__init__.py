"""The run directory: names of files, typed records, states and failures."""
