"""What is learnt, without torch: one specification a task."""
