"""What the validation split chooses: layers, epoch and weights.

The rules apply in this order. `probe`: short trainings choose the layers that read features.
`moving_average`: the average of the weights is validated in their place. `initial_share`: how much of the
initial embeddings the final weights keep.
"""
