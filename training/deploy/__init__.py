"""What is made of a model that may ship."""
