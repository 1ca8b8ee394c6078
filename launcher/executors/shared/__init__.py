"""What executors have in common: what each can do, what a job may see, and how the newest one ended."""
