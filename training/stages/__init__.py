"""The stages that make checkpoints; one a file.

A stage is a settings model and a function `run(job)` that works in the folder `job.folder`, goes on from what an
interrupted call left there, and gives the folder that is published.
"""

from __future__ import annotations

from typing import Final

STAGES: Final = {
    "align": "training.stages.align:AlignStage",
    "arr_coc": "training.stages.arr_coc:ArrCocStage",
    "data": "training.stages.data:DataStage",
    "majority": "training.stages.majority:MajorityStage",
    "pretrain": "training.stages.pretrain:PretrainStage",
    "sft": "training.stages.sft:SftStage",
}
"""Name in the `stage:` key of a config -> its settings model; `run` stands beside it."""
