"""The steps of the jobs: train, reindex, evaluate, rerun."""
