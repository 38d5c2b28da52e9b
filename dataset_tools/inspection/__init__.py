"""What is in a dataset: numbers, nearest items, pages to look at."""
