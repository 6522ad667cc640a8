"""Jobs: a command with its parameters and resources, carried out here, on Ray or through W&B Launch."""
