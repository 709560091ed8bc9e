"""Overrides that make a training cheap where a test is about something else."""

POPULARITY_ONLY = (
    "baselines=all_time",
    "~baselines.ease",
    "~baselines.item_knn",
    "~baselines.content_knn",
    "baselines.tune=false",
    "trainer.probe_steps=0",
    "metrics.importance_repeats=0",
)
"""One baseline; nothing is tuned, and neither short trainings nor the importance of features take time."""
QUICK = ("initialization=random", *POPULARITY_ONLY)
"""Small trainings do not improve on an SVD, and a second one then starts from random embeddings."""
