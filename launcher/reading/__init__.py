"""Local data files to rows, and the rules that a row must obey before anything is queued."""
