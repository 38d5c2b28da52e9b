"""From a raw format to a dataset that appears whole or not at all."""
