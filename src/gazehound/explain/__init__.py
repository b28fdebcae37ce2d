"""What each step of a detector did on one picture, drawn from the values that it computed there."""
