"""Commands that the training package adds to `harness`."""
