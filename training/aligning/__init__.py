"""Aligning: preferences, rewards, and the trainers that learn from them."""
