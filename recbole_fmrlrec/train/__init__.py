"""One run: training, evaluation, resuming."""
