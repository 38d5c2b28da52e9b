"""From texts and pictures to feature vectors; what was interrupted goes on where it was."""
