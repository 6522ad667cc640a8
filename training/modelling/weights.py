# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""Weights that are read whole: transformers gives random values to what a checkpoint lacks, and only warns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness import CheckpointError


def load_whole(loader: Any, place: str, name: str = "", *, new: Sequence[str] = (), **given: Any) -> Any:
    """What `loader.from_pretrained` loads from a folder or the hub, each of its tensors read from safetensors.

    Args:
        name: what it is called where that is not its place.
        new: names of modules that need not be there: they are made anew.
        given: to `from_pretrained`.

    Raises:
        CheckpointError: a tensor is not there.
    """
    model, report = loader.from_pretrained(place, output_loading_info=True, use_safetensors=True, **given)
    if missing := sorted(key for key in report["missing_keys"] if not set(key.split(".")) & set(new)):
        raise CheckpointError(
            f"{name or place}: {len(missing)} of the model's tensors are not in its weights, such as "
            f"{missing[0]}; fetch or save it again, whole"
        )
    return model
