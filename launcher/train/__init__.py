"""What runs on the nodes: the only package that imports torch and its relatives."""
