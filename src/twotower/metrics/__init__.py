"""Purpose: quality of ranked lists, one value per user or per catalogue; one metric a file, numpy only.

May import: config, data, features, towers.
To add one: a file with a `metric.UserMetric` or `metric.CatalogueMetric`, named under `kinds` in a YAML of
`conf/metrics/`.
"""
