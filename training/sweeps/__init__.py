"""Sweeps: many trials of one thing with other parameters, by the keys of a W&B sweep file and some of ours."""
