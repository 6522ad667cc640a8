"""A scored run, for people and for programs."""
