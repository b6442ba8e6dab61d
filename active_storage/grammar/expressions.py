"""Expressions: from ``sqrt(u*u + v*v) - 273.15`` to a tree of operations.

    sum      = product *( ( "+" / "-" ) product )
    product  = signed *( ( "*" / "/" ) signed )
    signed   = ["-" / "+"] power
    power    = operand [ "**" signed ]
    operand  = number / name / function "(" sum [ "," sum ] ")" / "(" sum ")"

Operators bind as in Python. A name is the path of an array: letters, digits and underscores, not beginning with a
digit; or any characters between backticks, such as `2m_temperature`.
Nothing is ever evaluated as a program.
"""

import math
import re
from typing import NamedTuple

import numpy as np

from active_storage.errors import InvalidArgument, shown
from active_storage.model.expression import (
    FUNCTIONS,
    Constant,
    Node,
    Operation,
    Variable,
    evaluate,
    format_expression,
    list_names,
)

# Real ones have some ten nodes. An expression is evaluated for each block of data.
_MOST_CHARACTERS = 2048
_MOST_NODES = 128
_MOST_DEPTH = 24

# How many arrays an expression may name: each takes memory for its chunks.
_MOST_NAMES = 8

_TOKEN_RE = re.compile(
    r"\s*+(?:(?P<number>(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?)|(?P<name>[A-Za-z_]\w*+)|`(?P<quoted>[^`;]++)`|(?P<sign>\*\*|[-+*/(),]))",
    re.ASCII,
)


class _Token(NamedTuple):
    kind: str
    text: str


def parse_expression(text: str) -> Node:
    """The expression that a text says.

    Raises:
        InvalidArgument: The text is not of the form above, too long, nested too deeply, or names no array or too many.
    """
    if len(text) > _MOST_CHARACTERS:
        raise InvalidArgument("expr", f"has more than {_MOST_CHARACTERS} characters")
    node = _Parser(_split(text)).parse()
    names = list_names(node)
    if not names:
        raise InvalidArgument("expr", "names no array")
    if len(names) > _MOST_NAMES:
        raise InvalidArgument("expr", f"names {len(names)} arrays; the limit is {_MOST_NAMES}")
    return node


def _split(text: str) -> list[_Token]:
    tokens, place = [], 0
    text = text.rstrip()
    while place < len(text):
        found = _TOKEN_RE.match(text, place)
        if found is None:
            raise InvalidArgument("expr", f"has {shown(text[place:].lstrip()[:1])} where nothing like it can stand")
        tokens.append(_Token(str(found.lastgroup), found[str(found.lastgroup)]))
        place = found.end()
    return tokens


class _Parser:
    """Parses tokens from left to right.

    Args:
        tokens: The tokens.
    """

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._place = 0
        self._nodes = 0
        self._depth = 0

    def parse(self) -> Node:
        """The expression of all tokens."""
        node = self._parse_sum()
        if self._place < len(self._tokens):
            raise self._unexpected()
        return node

    def _parse_sum(self) -> Node:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise InvalidArgument("expr", f"is nested more than {_MOST_DEPTH} levels deep")
        node = self._parse_product()
        while sign := self._take("+", "-"):
            node = self._make(sign, node, self._parse_product())
        self._depth -= 1
        return node

    def _parse_product(self) -> Node:
        node = self._parse_signed()
        while sign := self._take("*", "/"):
            node = self._make(sign, node, self._parse_signed())
        return node

    def _parse_signed(self) -> Node:
        sign = self._take("-", "+")
        if sign is None:
            return self._parse_power()
        node = self._parse_power()
        return node if sign == "+" else self._make("-", node)

    def _parse_power(self) -> Node:
        node = self._parse_operand()
        if not self._take("**"):
            return node
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise InvalidArgument("expr", f"is nested more than {_MOST_DEPTH} levels deep")
        node = self._make("**", node, self._parse_signed())
        self._depth -= 1
        return node

    def _parse_operand(self) -> Node:
        if self._take("("):
            node = self._parse_sum()
            self._expect(")")
            return node
        token = self._tokens[self._place] if self._place < len(self._tokens) else _Token("end", "")
        if token.kind not in ("number", "name", "quoted"):
            raise self._unexpected()
        self._place += 1
        if token.kind == "quoted":
            return self._count(Variable(token.text))
        if token.kind == "number":
            return self._count(Constant(_read_number(token.text)))
        return self._parse_call(token.text) if self._take("(") else self._count(Variable(token.text))

    def _parse_call(self, name: str) -> Node:
        if name not in FUNCTIONS:
            raise InvalidArgument("expr", f"has no function {shown(name)}; the functions are {', '.join(FUNCTIONS)}")
        operands = [self._parse_sum()]
        while self._take(","):
            operands.append(self._parse_sum())
        self._expect(")")
        wanted = FUNCTIONS[name].nin
        if len(operands) != wanted:
            raise InvalidArgument("expr", f"gives {name} {len(operands)} arguments, not {wanted}")
        return self._make(name, *operands)

    def _make(self, name: str, *operands: Node) -> Node:
        node = Operation(name, operands)
        if not all(isinstance(each, Constant) for each in operands):
            return self._count(node)
        # A number has no data type of its own until it meets an array.
        with np.errstate(all="ignore"):
            number = float(evaluate(node, {}))
        if not math.isfinite(number):
            raise InvalidArgument("expr", f"has {shown(format_expression(node))}, which is not a finite number")
        return self._count(Constant(number))

    def _count(self, node: Node) -> Node:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise InvalidArgument("expr", f"has more than {_MOST_NODES} operations, numbers and names")
        return node

    def _take(self, *signs: str) -> str | None:
        """The next token, if it is one of these signs; then it is taken."""
        if self._place < len(self._tokens) and self._tokens[self._place].kind == "sign":
            text = self._tokens[self._place].text
            if text in signs:
                self._place += 1
                return text
        return None

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise self._unexpected()

    def _unexpected(self) -> InvalidArgument:
        if self._place >= len(self._tokens):
            return InvalidArgument("expr", "ends too early")
        return InvalidArgument("expr", f"has {shown(self._tokens[self._place].text)} where nothing like it can stand")


def _read_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidArgument("expr", f"has the number {shown(text)}, which is too large")
    return number
