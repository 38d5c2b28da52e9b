"""From atomic files and features to the rows of training and evaluation."""
