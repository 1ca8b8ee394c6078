"""Rows, labels and tokens put together."""
