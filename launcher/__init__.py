"""Fine-tune BERT-family encoders anywhere, from one GPU to a Slurm cluster."""

__version__ = "0.1.0"
