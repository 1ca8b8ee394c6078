"""One module a group of verbs: click, and what each prints."""
