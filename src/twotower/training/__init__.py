"""One training: batches, the thin LightningModule, optimizers, callbacks.

To add one: an optimizer is a file in `optimizers/` and a YAML in `conf/optimizer/`; a callback is a file in
`callbacks/`.
"""
