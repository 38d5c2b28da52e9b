"""What prints the speed, memory and quality figures: ``python -m benchmarks COMMAND``."""
