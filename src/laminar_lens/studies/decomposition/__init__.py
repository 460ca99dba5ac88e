"""What attention and MLP write in each step."""
