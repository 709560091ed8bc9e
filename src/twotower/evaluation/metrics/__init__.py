"""Metrics of ranked lists and of labels, in NumPy; one metric per file.

To add one: a file with a `metric.UserMetric` or `metric.CatalogueMetric`, named under `kinds` in a YAML of
`conf/metrics/`.
"""
