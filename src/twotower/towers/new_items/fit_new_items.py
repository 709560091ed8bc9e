"""Fit the embedding of new items to trained towers."""

import torch

from twotower.towers.two_tower import TwoTower


@torch.no_grad()
def fit_new_items(model: TwoTower) -> None:
    """Fit `model.new_items` to the embeddings of trained items; other weights do not change."""
    training = model.training
    model.eval()
    features = model.items.all_rows()
    known = ~model.new_items.is_new(features)
    known_features = {name: values[known] for name, values in features.items()}
    embeddings = model.outputs_and_biases(known.nonzero()[:, 0] + 1)
    model.new_items.fit(known_features, embeddings, model.item_bias.bias_scale)
    model.train(training)
