"""Hyper-parameter search: a YAML file or a RecBole range file to an Optuna study."""
