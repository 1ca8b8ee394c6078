"""Smaller models: pruning, sparsity and distillation."""
