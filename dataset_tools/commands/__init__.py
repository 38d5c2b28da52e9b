"""One module per command of ``python -m dataset_tools``."""
