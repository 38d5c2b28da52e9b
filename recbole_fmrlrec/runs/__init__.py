"""What a run leaves in its folder, and who is at work in it."""
