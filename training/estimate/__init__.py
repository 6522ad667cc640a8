"""What a training or an evaluation needs, without doing it: the real code, run on tensors that have no values."""
