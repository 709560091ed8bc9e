"""Purpose: frozen pretrained models that embed a text or an image, and a cache of their vectors.

May import: config, files, data; onnxruntime, tokenizers, sentence_transformers and PIL only in functions.
To add one: a file with a class that is called as `Embedder` declares, chosen in `features/encoded_*.py`.
"""
