"""What the validation split chooses: learning rate, layers, epoch, weights and initialization.

The rules apply in this order. `probe`: short trainings choose the layers that read features, and what the
optimizer lists. `moving_average`: the average of the weights is validated in their place. `improvement`: an
epoch is kept if it is better than the initial embeddings by some standard errors. `plateau`: the learning
rate is reduced, then the training stops. `random_comparison`: if no epoch was kept, a training from random
embeddings is the alternative.
"""
