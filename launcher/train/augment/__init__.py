"""Altered copies of training examples."""
