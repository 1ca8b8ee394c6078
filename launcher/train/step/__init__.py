"""One optimizer step: strategies, optimizers, schedules, buckets, captured steps, checkpoints."""
