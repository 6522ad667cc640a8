"""Preparing data: what is read, left out, and written."""
