"""Rows on a node: sources, targets, splits, statistics and the data doctor."""
