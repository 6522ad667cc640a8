"""What happens at the side of a training: one concern a file."""
