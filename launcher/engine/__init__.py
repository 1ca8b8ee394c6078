"""What is known of how right and how fast the engine is on a device: what a probe found, kept in the user's cache."""
