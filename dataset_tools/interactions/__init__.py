"""The interactions of a dataset as arrays, and which of them are kept."""
