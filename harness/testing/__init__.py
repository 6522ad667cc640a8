"""What authors of plugins test theirs with. Needs pytest."""
