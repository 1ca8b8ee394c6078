"""Micro-batches without padding: attention, dropout, collating and the batch layout."""
