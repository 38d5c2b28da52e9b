"""What the HTML pages have in common."""
