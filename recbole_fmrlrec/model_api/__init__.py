"""The contract of models: their names, what a class can declare, and models from outside."""
