"""Pipelines: stages that depend on each other, each carried out once for the same settings and inputs."""
