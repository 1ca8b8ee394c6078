"""What the families share: the record that describes one, and reading config.json."""
