"""Checks of what the settings and the workspace point to."""

from __future__ import annotations

from harness import CheckResult, DataSource, open_session


class Data:
    """Where the configured benchmarks' data lies, and whether it is there."""

    def run(self) -> CheckResult:
        found: list[str] = []
        missing: list[str] = []
        with open_session() as session:
            for name in session.settings.benchmarks:
                source = session.settings.source(name) or DataSource()
                there = source.hub is not None or (source.path is not None and source.path.is_dir())
                (found if there else missing).append(name)
        if not missing:
            return CheckResult(True, f"found for {', '.join(found)}" if found else "no benchmark is configured")
        return CheckResult(
            False,
            f"missing for {', '.join(missing)}" + (f"; found for {', '.join(found)}" if found else ""),
            "`harness data synth --out data/microworld` makes a small world; or set HARNESS_DATA, or write the "
            "folders into benchmarks.yaml",
        )


class Checkpoints:
    """Which checkpoint store is configured, whether it answers, and how many checkpoints it has."""

    def run(self) -> CheckResult:
        with open_session() as session:
            store = session.checkpoints
            counts = {name: len(store.versions(name)) for name in store.names()}
        if not counts:
            return CheckResult(
                False,
                f"none yet in {store}",
                "`harness train CONFIG` makes one, such as training/configs/arr_coc/micro.yaml",
            )
        return CheckResult(True, f"{', '.join(f'{name} ({n})' for name, n in counts.items())} in {store}")
