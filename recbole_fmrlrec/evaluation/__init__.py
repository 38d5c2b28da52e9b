"""Ranks of targets, and the metrics that follow from them."""
