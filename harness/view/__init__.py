"""The workspace as pages on a server of this machine: runs, trends, comparisons, verdicts, checkpoints."""
