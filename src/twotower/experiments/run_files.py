"""The names of a run's files, for those who write them and those who read them."""

CONFIG, OVERRIDES, RESULT, TRAIN_LOG = "config.yaml", "overrides.yaml", "result.json", "train.log"
PER_USER, PER_USER_BASELINES = "per_user.parquet", "per_user_baselines.parquet"
