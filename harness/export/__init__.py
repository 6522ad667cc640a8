"""Stored runs as tables for other programs: parquet, CSV, JSON lines, lmms-eval's logs, a W&B table."""
