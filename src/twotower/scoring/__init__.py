"""Purpose: the logits of a batch: temperature, link, prior odds, log-q correction, masks; in blocks.

May import: config, files, towers, negatives.
To add one: there is one `Scorer`; a loss chooses its settings with `ScoringConfig`.
"""
