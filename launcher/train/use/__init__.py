"""What a trained model is used for: evaluation, prediction, explanation, latency, export."""
