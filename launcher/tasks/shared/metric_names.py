"""What metrics are called by scikit-learn, seqeval, evaluate and transformers."""

from __future__ import annotations

HERE: dict[str, tuple[str, ...]] = {
    "accuracy": ("acc", "accuracy_score", "overall_accuracy"),
    "macro_f1": ("f1_macro", "f1-macro", "macro-f1", "macro avg"),
    "micro_f1": ("f1_micro", "f1-micro", "micro-f1", "micro avg"),
    "mcc": ("matthews_correlation", "matthews_corrcoef", "matthews"),
    "f1": ("f1_score", "overall_f1", "seqeval_f1", "span_f1"),
    "precision": ("overall_precision",),
    "recall": ("overall_recall",),
    "exact_match": ("em", "exact", "subset_accuracy"),
    "pearson": ("pearsonr", "pearson_cosine", "cosine_pearson"),
    "spearman": ("spearmanr", "spearman_cosine", "cosine_spearman"),
    "mse": ("mean_squared_error", "rmse"),
    "mae": ("mean_absolute_error",),
    "qwk": ("quadratic_weighted_kappa", "kappa", "cohen_kappa"),
    "ndcg": ("ndcg@10", "ndcg_at_10"),
    "mrr": ("mrr@10", "mrr_at_10", "mean_reciprocal_rank"),
    "map": ("mean_average_precision", "average_precision"),
    "perplexity": ("ppl",),
}
"""A metric of ours -> what it, or what is nearest to it, is called elsewhere."""


def metric_called(name: str) -> str:
    """Our name of a metric that is called so elsewhere; the same name where it is nobody else's."""
    word = name.removeprefix("eval_").lower()
    return next((ours for ours, names in HERE.items() if word in names), word)
