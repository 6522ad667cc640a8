# mypy: allow-untyped-calls, disable-error-code="no-any-return"
# Fake tensors carry no annotations.

"""Running real code on tensors without values.

Weights and whatever is computed from them are PyTorch's fake tensors: shapes and types without bytes. What steers a
program stays real: token ids, masks, tables, pictures. Where a decision would be read off unknown numbers (a sort, a
comparison, the next token) it is made up, validly: a sort finds things in order, a comparison holds, a maximum is the
first. So a model whose shapes depend on what it decides runs as it is, and so does `generate`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

aten = torch.ops.aten
ORDERED = (aten.sort.default, aten.sort.stable, aten.topk.default)
COMPARED = frozenset({"eq", "ne", "lt", "le", "gt", "ge", "greater", "less", "greater_equal", "less_equal"})
INDEXED = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)


class _Fakes(FakeTensorMode):
    def __deepcopy__(self, memo: Any) -> _Fakes:
        return self  # copies of fake tensors are of the same kind, and may be computed with together


class Imagining(TorchDispatchMode):
    """While it is entered, operators on fake tensors, or on real and fake ones together, compute shapes alone."""

    def __init__(self) -> None:
        super().__init__()
        self._fakes = _Fakes(allow_non_fake_inputs=True)

    def fake(self, tensor: Tensor) -> Tensor:
        """A tensor as large as this one, without values; of the CPU, as far as anybody asks."""
        with self._fakes:
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")

    @contextmanager
    def building(self) -> Iterator[None]:
        """Inside, models are put together with fake parameters: nothing is drawn, no weights are read.

        `from_pretrained` reads the configuration alone. Buffers, such as tables, keep their values. A module stays
        where it is whatever device it is sent to, and there is no device but the CPU.
        """
        register = nn.Module.register_parameter

        def register_fake(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
            if parameter is not None and not parameter.is_meta and not isinstance(parameter, FakeTensor):
                parameter = nn.Parameter(self.fake(parameter.data), parameter.requires_grad)
            register(module, name, parameter)

        patches: tuple[tuple[Any, str, Any], ...] = (
            (nn.Module, "register_parameter", register_fake),
            (nn.Module, "to", lambda module, *args, **kwargs: module),
            (PreTrainedModel, "from_pretrained", classmethod(_configured)),
            (PreTrainedModel, "initialize_weights", lambda model: None),  # some draw until values please them
            (torch.accelerator, "is_available", lambda: False),
            (torch.cuda, "is_available", lambda: False),
        )
        before = [(owner, name, owner.__dict__[name]) for owner, name, _ in patches]
        try:
            for owner, name, replacement in patches:
                setattr(owner, name, replacement)
            with warnings.catch_warnings():
                # A copy asks where the values lie, which nobody reads.
                warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor", UserWarning)
                yield
        finally:
            for owner, name, original in before:
                setattr(owner, name, original)

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """One operator."""
        given = dict(kwargs or {})
        if not any(isinstance(tensor, FakeTensor) for tensor in tensors_of((*args, *given.values()))):
            return func(*args, **given)
        if func is aten._local_scalar_dense.default:
            return _number(args[0].dtype)
        if func is aten.equal.default:
            return True
        if func is aten.masked_select.default:
            func, args = aten.index.Tensor, (args[0], [args[1]])
        if func in INDEXED:
            places = [place for index in args[1] for place in _places(index)]
            args = (args[0], places, *args[2:])
        twins = {name: self._twin(value) for name, value in given.items()}
        result = func(*(self._twin(value) for value in args), **twins)
        written = _written(func, args, given)
        if written is not None:
            return written if isinstance(result, Tensor) else result
        return _settled(func, args, given, result)

    def _twin(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return value if isinstance(value, FakeTensor) else self.fake(value)
        return [self._twin(item) for item in value] if isinstance(value, list | tuple) else value


def tensors_of(values: Any) -> Iterator[Tensor]:
    """The tensors among an operator's arguments or results, lists of them included."""
    for value in values if isinstance(values, list | tuple) else (values,):
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_of(value)


def _configured(
    kind: Any, /, place: str, *args: Any, config: Any = None, output_loading_info: bool = False, **kwargs: Any
) -> Any:
    """In the place of `from_pretrained`: the model that the configuration describes, in the precision asked for."""
    pinned = {name: kwargs[name] for name in ("revision", "local_files_only") if name in kwargs}
    if config is None:
        config = kind.config_class.from_pretrained(place, **pinned)
    model = kind._from_config(config, dtype=kwargs.get("dtype") or torch.float32)
    missing: dict[str, list[str]] = {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": []}
    return (model, missing) if output_loading_info else model


def _number(dtype: torch.dtype) -> float | int | bool:
    return True if dtype is torch.bool else 1.0 if dtype.is_floating_point else 1


def _places(index: Tensor | None) -> Sequence[Tensor | None]:
    """What a mask points at; how many that are is known only where the mask has values."""
    if index is None or index.dtype is not torch.bool:
        return [index]
    return index.nonzero().unbind(1)


def _written(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The tensor that an operator changes in place and gives back: it stays the one that it was."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            return args[place] if place < len(args) else kwargs.get(argument.name)
    return None


def _settled(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Any:
    """The result with made-up values where it is integers or truths."""

    def settle(output: Any) -> Any:
        if not isinstance(output, FakeTensor) or output.dtype.is_floating_point or output.dtype.is_complex:
            return output
        if output.dtype is torch.bool:
            holds = func._schema.name.removeprefix("aten::") in COMPARED
            return torch.full(output.shape, holds, dtype=torch.bool)
        if func in ORDERED and output.dim():
            dim = _argument(func, args, kwargs, "dim")
            shape = [-1 if axis == dim % output.dim() else 1 for axis in range(output.dim())]
            order = torch.arange(output.shape[dim], dtype=output.dtype)
            return order.view(shape).expand(output.shape).contiguous()
        if func is aten.argmax.default:
            # A word from the middle of the vocabulary is no special token that would end an answer.
            return torch.full(output.shape, _extent(func, args, kwargs) // 2, dtype=output.dtype)
        return torch.zeros(output.shape, dtype=output.dtype)

    if isinstance(result, list | tuple):
        return type(result)(settle(output) for output in result)
    return settle(result)


def _extent(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    dim = _argument(func, args, kwargs, "dim")
    return args[0].numel() if dim is None else args[0].shape[dim]


def _argument(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], name: str) -> Any:
    for place, argument in enumerate(func._schema.arguments):
        if argument.name == name:
            return args[place] if place < len(args) else kwargs.get(name, argument.default_value)
    raise KeyError(name)
