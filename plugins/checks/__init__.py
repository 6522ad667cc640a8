"""What `harness doctor` looks at."""

from __future__ import annotations

from harness import Entry, hookimpl


@hookimpl
def register_checks() -> list[Entry]:
    return [
        Entry("versions", "the versions of what the plugins stand on", "plugins.checks.machine:Versions"),
        Entry("gpu", "an accelerator that torch can use", "plugins.checks.machine:Gpu"),
        Entry("java", "Java, which some caption scorers need", "plugins.checks.machine:Java"),
        Entry("spice_models", "what SPICE needs beside Java", "plugins.checks.spice:Spice"),
        Entry("disk", "room on the disk of the workspace", "plugins.checks.machine:Disk"),
        Entry("data", "the data of the configured benchmarks", "plugins.checks.workspace:Data"),
        Entry("checkpoints", "the checkpoints of the registry", "plugins.checks.workspace:Checkpoints"),
        Entry("wandb", "a Weights & Biases login", "plugins.checks.wandb:Login"),
    ]
