# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""What a config needs: memory by part when training and when answering, on one device or spread over several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from harness import DataError, Session
from training.callbacks.evaluating import bare, prepare_evaluation, resting
from training.estimate.assembling import Assembly, StandIns, assemble
from training.estimate.ledger import Ledger, Part
from training.estimate.steps import caching, trace_steps, widest
from training.job import Job
from training.modelling.models import Lora
from training.modelling.parts import parameters_by_part
from training.scale import blocks
from training.settings import Evaluating

FLOAT32 = 4
GATHERED = "gathered"
"""The part that there is under FSDP alone."""


@dataclass(frozen=True, slots=True)
class Size:
    """Parameters of a part of the model."""

    all: int
    trained: int


@dataclass(frozen=True, slots=True)
class Shards:
    """What of a model is spread over processes by FSDP, and what is gathered of it.

    Attributes:
        block: bytes of the largest layer that is gathered as a whole, in the precision of the arithmetic.
        root: bytes of what belongs to no such layer, which stays gathered.
        reduced: bytes of the largest gradient before it is spread: that of a layer, or of the rest.
    """

    block: int
    root: int
    reduced: int

    @property
    def gathered(self) -> int:
        """The rest, the layer that is computed, the next one with the buffer that it comes in, and a gradient."""
        return self.root + 3 * self.block + self.reduced


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes at the moment when there are most.

    Attributes:
        parts: of what is on one device that has the whole model.
        shards: how it is spread.
    """

    parts: Mapping[Part, int]
    shards: Shards

    @property
    def total(self) -> int:
        """All parts."""
        return sum(self.parts.values())

    def on_each(self, processes: int) -> Mapping[str, int]:
        """Parts on each of several devices under FSDP; activations and data are each device's own."""
        if processes == 1:
            return {str(part): size for part, size in self.parts.items()}
        spread = {"weights", "gradients", "optimizer"}
        parts = {str(part): -(-size // processes) if part in spread else size for part, size in self.parts.items()}
        return {**parts, GATHERED: self.shards.gathered}


@dataclass(frozen=True, slots=True)
class Estimate:
    """What was found.

    Attributes:
        sizes: part of the model -> its parameters.
        memory: mode -> memory; the first mode is the config's own, `inference` that of its evaluation.
        tokens: of the longest row of the batch that was looked at.
        rows: of that batch.
        notes: what a reader should know of these figures.
    """

    sizes: Mapping[str, Size]
    memory: Mapping[str, Memory]
    rows: int
    tokens: int
    notes: Sequence[str]


def estimate(
    settings: Any, run: Callable[[Job], Any], session: Session, stand_ins: StandIns, *, training_only: bool = False
) -> tuple[Estimate, Assembly]:
    """What the config needs, and the assembly that it was found on.

    Args:
        settings, run: the stage's.
        session: the workspace; nothing is written in it.
        stand_ins: of models that are not there.
        training_only: without what answering needs, and with adapters or without them as the config has it.

    Raises:
        HarnessError: whatever would end the training before its first step.
    """
    assembly = assemble(settings, run, session, stand_ins)
    mode = mode_of(settings)
    memory = {mode: train(assembly)}
    rows, tokens = widest(assembly.trainer)
    notes = list(stand_ins.notes)
    if training_only:
        return Estimate(sizes(assembly), memory, rows, tokens, notes), assembly
    answered = answer(assembly)
    if hasattr(settings, "lora"):
        name, lora = ("full", None) if settings.lora is not None else ("lora", Lora())
        changes: dict[str, Any] = {"lora": lora}
        if lora is None and getattr(settings, "reference_free", None):
            changes["reference_free"] = None
        memory[name] = train(assemble(settings.model_copy(update=changes), run, session, stand_ins))
    if answered is not None:
        memory["inference"] = answered
    else:
        notes.append("nothing is said of inference: the config evaluates nothing")
    return Estimate(sizes(assembly), memory, rows, tokens, notes), assembly


def mode_of(settings: Any) -> str:
    """What of the model the config trains."""
    if hasattr(settings, "lora"):
        return "full" if settings.lora is None else "lora"
    return "training"


def sizes(assembly: Assembly) -> dict[str, Size]:
    """Part -> its parameters."""
    assert assembly.trainer.model is not None
    return {
        part: Size(sum(map(nn.Parameter.numel, found)), sum(weight.numel() for weight in found if weight.requires_grad))
        for part, found in parameters_by_part(assembly.trainer.model).items()
    }


def train(assembly: Assembly) -> Memory:
    """Memory of the steps of an assembly without weights, which has run afterwards."""
    assert assembly.imagining is not None
    widest(assembly.trainer)
    parts = trace_steps(assembly.trainer, heaviest(assembly.job.settings), assembly.imagining)
    return Memory(parts, shards(assembly.trainer.model, assembly.job.settings.scale.precision == "bfloat16"))


def heaviest(settings: Any) -> Sequence[int]:
    """Steps that may need most: the last one, when all is trained that ever is; of ARR-COC one of each kind."""
    if settings.stage != "arr_coc":
        return [settings.steps - 1]
    from training.arr_coc.steps import plan_step

    found: dict[tuple[Any, ...], tuple[tuple[int, float], int]] = {}
    for step in range(settings.steps):
        planned = plan_step(settings, step)
        kind = (planned.budget is None, planned.gating is None, planned.distilled, planned.measured)
        # The hotter the gates, the more regions are in the sequence, whatever the budget.
        most = planned.budget or 0 if planned.gating is None else planned.gating.temperature
        found[kind] = max(found.get(kind, ((0, 0), 0)), ((planned.pictures, most), step))
    return sorted(step for _, step in found.values())


def shards(model: Any, halved: bool) -> Shards:
    """How FSDP spreads the model; weights are gathered in two bytes each where the arithmetic is in bfloat16."""
    size = FLOAT32 // 2 if halved else FLOAT32
    of_blocks = [{id(weight): weight for weight in block.parameters()} for block in blocks(model)]
    inside = {place for block in of_blocks for place in block}
    root = [weight for weight in model.parameters() if id(weight) not in inside]
    groups = [[*block.values()] for block in of_blocks] + [root]
    return Shards(
        size * max((sum(map(nn.Parameter.numel, block.values())) for block in of_blocks), default=0),
        size * sum(map(nn.Parameter.numel, root)),
        FLOAT32 * max(sum(weight.numel() for weight in group if weight.requires_grad) for group in groups),
    )


def answer(assembly: Assembly) -> Memory | None:
    """Memory of answering a batch as the config's evaluation asks it; None where there is nothing to ask.

    Of its benchmarks the one with the longest answers is asked.

    Raises:
        DataError: a sample cannot be asked.
    """
    settings, trainer = assembly.job.settings, assembly.trainer
    asked = settings.evaluate
    if asked is None and getattr(settings, "shares", None):
        asked = Evaluating(benchmarks=(next(iter(settings.shares)),), split=settings.split)
    if asked is None:
        return None
    assert trainer.model is not None
    assert assembly.imagining is not None
    few = asked.model_copy(update={"limit": asked.batch, "every": None, "best": None})
    live = prepare_evaluation(few, assembly.job.session, trainer.model)
    longest = max(live.plans, key=lambda plan: plan.request(next(iter(plan.samples()))[1]).generation.max_new_tokens)
    said: list[str] = []
    ledger = Ledger()
    ledger.hold("weights", [*trainer.model.parameters(), *trainer.model.buffers()])
    model = bare(trainer.model)
    with assembly.imagining.building(), assembly.imagining, ledger, caching(ledger), resting(trainer.model):
        replace(live, plans=(longest,)).scores(model, assembly.processor, said.append)
    if said:
        raise DataError(f"the evaluation cannot be asked: {said[0]}")
    return Memory(ledger.peak, shards(trainer.model, False))
