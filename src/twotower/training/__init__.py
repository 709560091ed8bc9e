"""Purpose: one training: batches, the thin LightningModule, optimizers, callbacks.

May import: config, files, data, features, towers, negatives, losses, metrics, index, evaluation, bundle.
To add one: an optimizer is a file in `optimizers/` and a YAML in `conf/optimizer/`; a callback is a file in
`callbacks/`.
"""
