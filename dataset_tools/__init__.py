"""Tools that turn a raw catalogue into a RecBole dataset with item features.

Nothing here knows a model, and nothing here imports RecBole.
"""
