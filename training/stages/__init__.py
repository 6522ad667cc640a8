"""The stages that make checkpoints; one a file.

A stage is a settings model and a function `run(settings, session, output=…)` that trains into the folder `output`,
goes on from what an interrupted call left there, and gives the folder of the finished checkpoint.
"""

from __future__ import annotations

from typing import Final

STAGES: Final = {
    "arr_coc": "training.stages.arr_coc:ArrCocStage",
    "majority": "training.stages.majority:MajorityStage",
}
"""Name in the `stage:` key of a config -> its settings model; `run` stands beside it."""
