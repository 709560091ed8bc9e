"""The logits of a batch: temperature, link, prior odds, log-q correction, masks; in blocks."""
