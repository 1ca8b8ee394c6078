"""What is looked at before and while a job runs: nodes, hangs, slow ranks."""
