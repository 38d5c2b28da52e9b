"""Public datasets: where they come from, their files and pictures fetched, every step in one go."""
