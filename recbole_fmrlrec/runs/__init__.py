"""What a run leaves in its folder, and which process is working in it."""
