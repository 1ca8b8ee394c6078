"""Side-by-side benchmarks, runnable by anyone."""
