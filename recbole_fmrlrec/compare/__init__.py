"""Comparisons of models: cells that are computed once, statistics after the fact, tables, plots."""
