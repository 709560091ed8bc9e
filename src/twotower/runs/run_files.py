"""The names of a run's files; in a module of their own, so that a reader of them need not load pandas."""

CONFIG, OVERRIDES, RESULT, TRAIN_LOG = "config.yaml", "overrides.yaml", "result.json", "train.log"
PER_USER, PER_USER_BASELINES = "per_user.parquet", "per_user_baselines.parquet"
