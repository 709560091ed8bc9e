"""Which interactions are training examples, and how much each counts.

To add one: a file with a subclass of `objective.Objective`, and a YAML in `conf/objective/`.
"""
