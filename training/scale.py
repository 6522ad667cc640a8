# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""One config on one device or on many: the Trainer's arguments, and FSDP2.

With FSDP (Zhao et al. 2023, arXiv:2304.11277, in the per-parameter form of `torch.distributed.fsdp.fully_shard`) each
process keeps a share of every weight, gradient and optimizer state, and layers are gathered as they are computed. It
is applied here, to the Trainer's model before its optimizer is made: accelerate's own does without it on the CPU, and
says nothing. Whatever leaves a process is as it would be without: checkpoints hold whole weights and the optimizer's
state in its plain form, so they are read by one process or by another number of them.
"""

from __future__ import annotations

import copy
import importlib.util
import inspect
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel, Trainer
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

from harness import ConfigError
from training.modelling.weights import load_whole
from training.processes import WORLD, is_first, join, meet, on_cpu, shared
from training.settings import Scale

T = TypeVar("T")
Kind = TypeVar("Kind", bound=Trainer)


def scale_arguments(scale: Scale, device: str = "auto") -> dict[str, Any]:
    """The settings in the words of TrainingArguments and its kin.

    Args:
        device: the workspace's; the CPU where it says so or where there is nothing else.

    Raises:
        ConfigError: DeepSpeed's configuration cannot be used.
    """
    join(device)
    return {
        "use_cpu": on_cpu(device),
        "bf16": scale.precision == "bfloat16",
        "activation_checkpointing": scale.gradient_checkpointing,
        "deepspeed": None if scale.deepspeed is None else _deepspeed(scale.deepspeed),
        "ddp_find_unused_parameters": True,  # what a step does not use, such as a router, is no error
        "dataloader_num_workers": _workers(on_cpu(device)) if scale.workers is None else scale.workers,
        "dataloader_pin_memory": not on_cpu(device),
    }


def _deepspeed(file: Path) -> str:
    try:
        stage = json.loads(file.read_text(encoding="utf-8")).get("zero_optimization", {}).get("stage", 0)
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"scale.deepspeed: {file} is no configuration of DeepSpeed's ({error})") from error
    if stage == 3:
        raise ConfigError(f"scale.deepspeed: {file} spreads weights (stage 3); that is what `strategy: fsdp` is for")
    if importlib.util.find_spec("deepspeed") is None:
        raise ConfigError("scale.deepspeed: DeepSpeed is not installed: `pip install deepspeed`, or use `strategy:`")
    return str(file)


def _workers(cpu: bool) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if cpu else min(8, max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1))


def scaled(kind: type[Kind], scale: Scale) -> type[Kind]:
    """The Trainer of that kind, which does as `scale` says.

    Raises:
        ConfigError: it generates while it trains, which spread weights do not allow: answers differ in length, and a
            device that is done would no longer take part in gathering layers for the others.
    """
    if WORLD > 1 and scale.strategy == "fsdp" and any(base.__name__ == "GRPOTrainer" for base in kind.__mro__):
        raise ConfigError("scale.strategy: fsdp cannot be used with a training that generates answers; use ddp")
    return type(kind.__name__, (Scaled, kind), {"scale": scale})


def with_whole_model(trainer: Trainer, work: Callable[[Any], T]) -> T:
    """What the first process makes of the model as a checkpoint of this moment would be loaded; all are told.

    The model has all of its weights, computes in their own precision and is not compiled. All processes call this at
    the same point.
    """
    if not isinstance(trainer, Scaled) or trainer.shards is None:
        return shared(lambda: plainly(trainer.model, work))
    model = trainer.shards.whole()
    return shared(lambda: plainly(model.to(trainer.args.device), work))


def come_together(trainer: Trainer) -> None:
    """After training: the first process's `trainer.model` is whole again. All processes call this at the same point."""
    if isinstance(trainer, Scaled) and trainer.shards is not None:
        whole = trainer.shards.whole()
        trainer.shards = None
        if is_first():
            trainer.model = trainer.model_wrapped = whole.to(trainer.args.device)


def plainly(model: Any, work: Callable[[Any], T]) -> T:
    """What `work` makes of a model that is not spread, computing in its weights' own precision and not compiled."""
    # accelerate computes in bfloat16 by a forward of the instance's own.
    cast = model.__dict__.pop("forward", None)
    try:
        with torch.compiler.set_stance("force_eager"):
            return work(model)
    finally:
        if cast is not None:
            model.forward = cast


def blocks(model: nn.Module) -> list[nn.Module]:
    """The layers that its parts name as indivisible (`_no_split_modules`), inner ones first."""
    names = {name for part in model.modules() for name in getattr(part, "_no_split_modules", None) or ()}
    return [part for part in reversed(list(model.modules())) if type(part).__name__ in names]


class Shards:
    """A model whose weights are spread over all processes.

    Args:
        model: with all of its weights, on any device; spread in place, on the process's device.
        precision: what layers are gathered and computed in; None leaves the weights' own.
    """

    def __init__(self, model: nn.Module, precision: torch.dtype | None) -> None:
        self.model = model
        self._hollow = copy.deepcopy(model, {id(weight): _hollow(weight) for weight in model.parameters()})
        _without_own_methods(self._hollow)
        # Inputs are left to autocast, which knows what a layer needs.
        policy = MixedPrecisionPolicy(param_dtype=precision, reduce_dtype=torch.float32, cast_forward_inputs=False)
        for part in (*blocks(model), model):
            fully_shard(part, mp_policy=policy)

    def whole(self) -> Any:
        """A plain model with all weights, on the CPU, in the first process; None in the others."""
        state = get_model_state_dict(self.model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        if not is_first():
            return None
        model: Any = copy.deepcopy(self._hollow)
        model.load_state_dict(state, assign=True)
        if hasattr(model, "tie_weights"):
            model.tie_weights()
        return model


def _hollow(weight: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=weight.requires_grad)


def _without_own_methods(model: nn.Module) -> None:
    """Takes away the methods that instances have of their own, such as trl's `forward`: they call what was copied."""
    for part in model.modules():
        for name, value in list(vars(part).items()):
            if inspect.isroutine(value) and inspect.isroutine(getattr(type(part), name, None)):
                delattr(part, name)


def _gathered(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the optimizer keeps of one weight, on the CPU of the first process."""
    found = {}
    for name, value in values.items():
        whole = value.full_tensor() if isinstance(value, DTensor) else value
        found[name] = whole.cpu() if is_first() else None
    return found


class Scaled(Trainer):
    """What `scaled` puts before a Trainer.

    Attributes:
        shards: the spread model, while it is spread.
    """

    scale: Scale
    shards: Shards | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        arguments = kwargs["args"]
        arguments._n_gpu = min(arguments.n_gpu, 1)  # several GPUs are several processes, never nn.DataParallel
        super().__init__(*args, **kwargs)

    @property
    def _spreads(self) -> bool:
        return WORLD > 1 and self.scale.strategy == "fsdp"

    def _move_model_to_device(self, model: nn.Module, device: torch.device) -> None:
        if not self._spreads:  # a layer moves when it is spread, so that no device has to hold all
            super()._move_model_to_device(model, device)

    def create_optimizer(self, model: Any = None) -> Optimizer:
        """The optimizer, of the spread model."""
        if self.optimizer is None:
            assert self.model is not None
            if self.scale.compile:
                for part in blocks(self.model):
                    part.compile()
            if self._spreads:
                precision = torch.bfloat16 if self.scale.precision == "bfloat16" else None
                self.shards = Shards(self.model, precision)
        made: Optimizer = super().create_optimizer(model)
        return made

    def _wrap_model(self, model: Any, training: bool = True, dataloader: Any = None) -> Any:
        if self.shards is not None and training:
            # Autocast and nothing else; without this accelerate would want DistributedDataParallel around it.
            self.accelerator.prepare_model(model, device_placement=False, evaluation_mode=True)
        return super()._wrap_model(model, training, dataloader)

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        norm = super()._clip_grad_norm(model)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if self.shards is None:
            super()._save(output_dir, state_dict)
            return
        spread, self.model = self.model, self.shards.whole()
        try:
            super()._save(output_dir)
        finally:
            self.model = spread

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        model = model or self.model
        if isinstance(model, PreTrainedModel):
            # By the Trainer itself, weights are looked for under the names that they have in memory, and where a
            # file has others, as Llava's has, nothing is read but a warning given.
            stored = load_whole(type(model), resume_from_checkpoint, dtype=model.dtype, local_files_only=True)
            model.load_state_dict(stored.state_dict())
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        assert self.state.best_model_checkpoint is not None
        self._load_from_checkpoint(self.state.best_model_checkpoint)

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        meet()  # each writes its own; what comes next marks the checkpoint as whole

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.shards is None:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        assert self.optimizer is not None
        assert self.lr_scheduler is not None
        state = self.optimizer.state_dict()
        state["state"] = {place: _gathered(values) for place, values in state["state"].items()}
        if self.args.should_save:
            torch.save(state, Path(output_dir) / OPTIMIZER_NAME)
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self.shards is None or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        assert self.optimizer is not None
        assert self.lr_scheduler is not None
        state = torch.load(Path(checkpoint) / OPTIMIZER_NAME, map_location="cpu", weights_only=True, mmap=True)
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        for place, values in state["state"].items():
            weight = weights[place]
            for name, value in values.items():
                if isinstance(weight, DTensor) and value.shape == weight.shape:
                    values[name] = distribute_tensor(value.to(weight.device), weight.device_mesh, weight.placements)
        self.optimizer.load_state_dict(state)
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / SCHEDULER_NAME, weights_only=True))
