"""The model: features, towers, negatives, the scorer and losses."""
