"""The reference of training configs is what the schema says.

`WRITE_REFERENCE=1 pytest tests/training/test_reference.py` writes it anew.
"""

from __future__ import annotations

import importlib
import os

from tests_support import ROOT

from training.explain import explain_stage
from training.stages import STAGES

FILE = ROOT / "docs" / "reference" / "training.md"
HEAD = """\
# Training configs

One YAML file a stage. `harness train CONFIG --explain` prints all settings of a config as they are, with what follows,
as a file that can be used as a config. `--set KEY=VALUE` changes one from the command line, with dots between keys:
`--set save.every=50`. Unknown keys are errors, with the file's line and the nearest right key; in values, `${NAME}` and
`${NAME:-default}` are taken from the environment.

`(required)` has no default. What is commented out belongs to a section that a config leaves out.
"""


def reference() -> str:
    """The whole text."""
    parts = [HEAD]
    for stage, place in STAGES.items():
        module_name, _, name = place.partition(":")
        module = importlib.import_module(module_name)
        about = (module.__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ")
        parts.append(f"## {stage}\n\n{about}\n\n```yaml\n{explain_stage(getattr(module, name))}```\n")
    return "\n".join(parts)


def test_the_reference_is_what_the_schema_says() -> None:
    if os.environ.get("WRITE_REFERENCE"):
        FILE.write_text(reference(), encoding="utf-8")
    assert FILE.read_text(encoding="utf-8") == reference(), "write it anew: see the head of this file"
