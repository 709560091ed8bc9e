"""Purpose: metrics of ranked lists and of labels, in NumPy; one metric per file.

May import: config, data, features, towers.
To add one: a file with a `metric.UserMetric` or `metric.CatalogueMetric`, named under `kinds` in a YAML of
`conf/metrics/`.
"""
