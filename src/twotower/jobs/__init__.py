"""The jobs, each as its steps: train, reindex, evaluate, rerun."""
