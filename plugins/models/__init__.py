"""The models that come along. Nothing heavy is imported here."""

from __future__ import annotations

from harness import Entry, hookimpl


@hookimpl
def register_models() -> list[Entry]:
    return [
        Entry(
            "arr-coc",
            "spends a budget of visual tokens where the question needs them: arr-coc:latest,token_budget=28",
            "plugins.models.arr_coc:ArrCoc",
        ),
        Entry(
            "hf",
            "any image-text-to-text model of transformers: hf:org/name, hf:./dir, hf:registry/NAME:v2",
            "plugins.models.hf:HuggingFace",
        ),
        Entry(
            "majority",
            "the most frequent answer by the question's leading words, an honest floor: majority:latest",
            "plugins.models.majority:Majority",
        ),
    ]
