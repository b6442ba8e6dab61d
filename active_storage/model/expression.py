"""Expressions: arithmetic between arrays and numbers, element by element, before the reduction.

An expression is a tree of the nodes below, which only ``active_storage.grammar.expressions`` makes from text. It is
bounded in size and depth, and has no operation but those of the two tables.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

# By the sign between the operands.
OPERATORS: Mapping[str, np.ufunc] = MappingProxyType(
    {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.true_divide, "**": np.power}
)

# By name, with one argument or with two.
FUNCTIONS: Mapping[str, np.ufunc] = MappingProxyType(
    {
        "abs": np.absolute,
        "cos": np.cos,
        "exp": np.exp,
        "hypot": np.hypot,
        "log": np.log,
        "log10": np.log10,
        "maximum": np.maximum,
        "minimum": np.minimum,
        "sin": np.sin,
        "sqrt": np.sqrt,
        "tan": np.tan,
    }
)


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, which takes the data type of the array that it meets.

    Attributes:
        value: The number.
    """

    value: float


@dataclass(frozen=True, slots=True)
class Variable:
    """An array.

    Attributes:
        name: Its name.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation on one or two operands.

    Attributes:
        name: A key of ``OPERATORS`` or ``FUNCTIONS``; ``-`` with one operand is the negative.
        operands: The operands.
    """

    name: str
    operands: tuple["Node", ...]


Node = Constant | Variable | Operation


def list_names(node: Node) -> list[str]:
    """The names of the arrays in an expression, each once, in the order in which they first occur."""
    return list(dict.fromkeys(_walk(node)))


def _walk(node: Node) -> Iterator[str]:
    if isinstance(node, Variable):
        yield node.name
    elif isinstance(node, Operation):
        for each in node.operands:
            yield from _walk(each)


def evaluate(node: Node, arrays: Mapping[str, Any]) -> Any:
    """The value of an expression, in the data type that numpy gives.

    Args:
        node: The expression.
        arrays: The arrays by name. Their shapes can be broadcast together.
    """
    if isinstance(node, Constant):
        return node.value
    if isinstance(node, Variable):
        return arrays[node.name]
    operands = [evaluate(each, arrays) for each in node.operands]
    return _find_call(node)(*operands)


def _find_call(node: Operation) -> Callable[..., Any]:
    if len(node.operands) == 1 and node.name == "-":
        return np.negative
    return OPERATORS.get(node.name) or FUNCTIONS[node.name]


def format_expression(node: Node) -> str:
    """The text of an expression. Equal expressions have equal text, and it parses to the same expression."""
    if isinstance(node, Constant):
        return repr(node.value)
    if isinstance(node, Variable):
        return node.name if node.name.isidentifier() and node.name.isascii() else f"`{node.name}`"
    texts = [format_expression(each) for each in node.operands]
    if node.name in FUNCTIONS:
        return f"{node.name}({','.join(texts)})"
    return f"({node.name}{texts[0]})" if len(texts) == 1 else f"({texts[0]}{node.name}{texts[1]})"
