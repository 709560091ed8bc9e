"""Purpose: models trained elsewhere, frozen, that make a vector of a text or an image: read, run, remembered.

May import: config, files, data; onnxruntime, tokenizers, sentence_transformers and PIL only in functions.
To add one: a file with a class that has `Embedder`'s one method, chosen in `features/encoded_*.py`.
"""
