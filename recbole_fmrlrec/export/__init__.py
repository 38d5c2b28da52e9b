"""From a checkpoint to folders that serve."""
