"""From a checkpoint to folders of deployed models."""
