"""Tables and advice from run directories, without torch."""
