"""What is learned of new items once the towers are trained."""

import torch

from twotower.towers.two_tower import TwoTower


@torch.no_grad()
def fit_new_items(model: TwoTower) -> None:
    """Learn from the trained items of towers how new ones are embedded; the rest stays as it is."""
    training = model.training
    model.eval()
    features = model.items.every_row()
    known = ~model.new_items.are_new(features)
    of_known = {name: values[known] for name, values in features.items()}
    embeddings = model.outputs_and_biases(known.nonzero()[:, 0] + 1)
    model.new_items.fit(of_known, embeddings, model.item_bias.bias_scale)
    model.train(training)
