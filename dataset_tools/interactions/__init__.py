"""The interactions of a dataset as a table, and which of them are kept."""
