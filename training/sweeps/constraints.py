"""Constraints: conditions that a trial's parameters must meet, such as `a + b + c == 1`.

A constraint is an expression of Python's grammar, walked by hand: numbers, texts, lists, names of parameters,
arithmetic, comparisons, `in`, and, or, not, and the functions below. Nothing else can be said in it.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from harness import UnknownName

TOLERANCE: Final = 1e-6
"""Numbers that differ by no more than this part of them are equal: a third three times is one."""
NEAR_ZERO: Final = 1e-12
LARGEST_POWER: Final = 64

FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "abs": abs, "all": all, "any": any, "len": len, "max": max, "min": min, "round": round, "sum": sum,
}  # fmt: skip
_ARITHMETIC: Final[Mapping[type[ast.AST], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
_SIGNS: Final[Mapping[type[ast.AST], Callable[[Any], Any]]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}


class Unusable(ValueError):
    """What is wrong with a constraint, for people."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """A condition on a point.

    Attributes:
        text: as it was written.
    """

    text: str
    _tree: ast.expr
    _names: Mapping[str, str]

    @classmethod
    def parse(cls, text: str, parameters: Sequence[str]) -> Constraint:
        """The condition that a text says.

        Args:
            parameters: full names; the part after the last dot will do where only one parameter ends so.

        Raises:
            Unusable: it says something else, or names no parameter.
        """
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError) as error:
            raise Unusable(
                f"{text!r} is no expression; write a condition such as `a + b == 1`, or `any([a, b])` for not all zero"
            ) from error
        names = _short_names(parameters)
        _check(tree, text, names)
        if not any(_name(node) for node in ast.walk(tree)):
            raise Unusable(f"{text!r} names no parameter, so it is always or never met")
        return cls(text, tree, names)

    def holds(self, point: Mapping[str, Any]) -> bool:
        """Whether a point, parameter -> value, meets it.

        Raises:
            Unusable: its values cannot be taken together so, such as a text and a number.
        """
        try:
            return bool(self._value(self._tree, point))
        except (TypeError, ValueError, ArithmeticError) as error:
            raise Unusable(f"{self.text!r} cannot be told of {_shown(point)}: {error}") from error

    def _value(self, node: ast.expr, point: Mapping[str, Any]) -> Any:
        if (name := _name(node)) is not None:
            return point[self._names[name]]
        match node:
            case ast.Constant(value):
                return value
            case ast.List(items) | ast.Tuple(items):
                return [self._value(item, point) for item in items]
            case ast.BoolOp(op, parts):
                found = (bool(self._value(part, point)) for part in parts)
                return all(found) if isinstance(op, ast.And) else any(found)
            case ast.UnaryOp(ast.Not(), operand):
                return not self._value(operand, point)
            case ast.UnaryOp(sign, operand):
                return _SIGNS[type(sign)](_number(self._value(operand, point)))
            case ast.BinOp(left, op, right):
                return _calculate(op, _number(self._value(left, point)), _number(self._value(right, point)))
            case ast.Compare(left, ops, others):
                values = [self._value(item, point) for item in (left, *others)]
                pairs = zip(values, ops, values[1:], strict=False)
                return all(_compare(one, op, other) for one, op, other in pairs)
            case ast.Call(ast.Name(function), arguments):
                values = [self._value(argument, point) for argument in arguments]
                spread = function in ("all", "any", "sum") and not (len(values) == 1 and isinstance(values[0], list))
                return FUNCTIONS[function](values) if spread else FUNCTIONS[function](*values)
        raise AssertionError(ast.dump(node))  # `_check` lets nothing else through


def _check(node: ast.expr, text: str, names: Mapping[str, str]) -> None:
    if (name := _name(node)) is not None:
        if names.get(name) == "":
            raise Unusable(f"{text!r}: several parameters end in {name!r}; write the whole name")
        if name not in names:
            raise Unusable(f"{text!r}: {UnknownName('parameter', name, names)}")
        return
    match node:
        case ast.Constant(bool() | int() | float() | str() | None):
            pass
        case ast.BinOp(_, op, _) if type(op) in _ARITHMETIC:
            pass
        case ast.Call(ast.Name(function), _, []):
            if function not in FUNCTIONS:
                raise Unusable(f"{text!r}: {UnknownName('function', function, FUNCTIONS)}")
        case ast.BoolOp() | ast.Compare() | ast.List() | ast.Tuple() | ast.UnaryOp(ast.Not() | ast.USub() | ast.UAdd()):
            pass
        case _:
            raise Unusable(
                f"{text!r}: {ast.unparse(node)!r} cannot be said in a constraint; it takes numbers, parameters, + - * "
                f"/ // % **, comparisons, in, and, or, not, and {', '.join(FUNCTIONS)}"
            )
    for child in _below(node):
        _check(child, text, names)


def _below(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.Call):
        yield from node.args
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield child


def _name(node: ast.AST) -> str | None:
    """`a`, or `a.b.c`; None of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (first := _name(node.value)) is not None:
        return f"{first}.{node.attr}"
    return None


def _short_names(parameters: Sequence[str]) -> dict[str, str]:
    """How a parameter may be called -> its full name; "" where a short name is several parameters'."""
    short: dict[str, str] = {}
    for name in parameters:
        last = name.rpartition(".")[2]
        short[last] = "" if last in short else name
    return {**short, **{name: name for name in parameters}}


def _number(value: Any) -> float | int:
    if isinstance(value, int | float):
        return value
    raise TypeError(f"{value!r} is no number")


def _calculate(op: ast.operator, one: float, other: float) -> Any:
    if isinstance(op, ast.Pow) and abs(other) > LARGEST_POWER:
        raise ValueError(f"a power of {other}; {LARGEST_POWER} at most")
    return _ARITHMETIC[type(op)](one, other)


def _compare(one: Any, op: ast.cmpop, other: Any) -> bool:
    match op:
        case ast.Eq():
            return _equal(one, other)
        case ast.NotEq():
            return not _equal(one, other)
        case ast.In():
            return any(_equal(one, item) for item in other)
        case ast.NotIn():
            return not any(_equal(one, item) for item in other)
        case ast.Lt():
            return bool(one < other) and not _equal(one, other)
        case ast.LtE():
            return bool(one < other) or _equal(one, other)
        case ast.Gt():
            return bool(one > other) and not _equal(one, other)
        case ast.GtE():
            return bool(one > other) or _equal(one, other)
        case ast.Is():
            return one is other
        case _:
            return one is not other


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=NEAR_ZERO)
    return bool(one == other)


def _shown(point: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in point.items())
