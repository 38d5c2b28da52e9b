"""The configuration of a run: what was set, checked and merged."""
