"""Frozen pretrained models that embed a text or an image, and a cache of their vectors.

onnxruntime, tokenizers, sentence_transformers and PIL are imported in functions only.
To add one: a file with a class that is called as `Embedder` declares, chosen in `features/encoded_*.py`.
"""
