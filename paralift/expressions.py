"""Expressions in configuration files: Python's call syntax, read from its syntax tree and never run as Python.

What may stand in one: the names of a vocabulary, calls with positional and keyword arguments, numbers, strings, True,
False, None, lists, tuples and dictionaries. So the repr of every layer, method, optimiser and loss is an expression.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

PREFIXES = ("pl", "paralift", "activations", "data", "losses", "maps", "methods", "networks", "optim")
"""Names that may stand before a dot, so that a line copied from a script (``pl.optim.Adam(1e-3)``) is understood."""
DEEPEST = 100
"""Calls, lists and signs within each other, at most."""
BEYOND = 2**63
"""Whole numbers are smaller, as they are in TOML: larger ones mean nothing to any argument."""
TYPES: Mapping[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
"""Annotations that a literal argument is checked against."""


class ExpressionError(ValueError):
    """A text that is no expression, or names something unknown."""


@dataclass(frozen=True)
class Call:
    """A call that has been read and checked but not made.

    Parameters
    ----------
    name : str
        Name in the vocabulary.
    function : callable
        What the name stands for.
    arguments, keywords : tuple, mapping
        Literals, containers of them, and further calls.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]

    def __repr__(self) -> str:
        parts = [*map(_text, self.arguments), *(f"{k}={_text(v)}" for k, v in self.keywords.items())]
        return f"{self.name}({', '.join(parts)})"

    def build(self) -> Any:
        """Make the inner calls, then this one; whatever the function raises passes through."""
        arguments = [build(a) for a in self.arguments]
        return self.function(*arguments, **{k: build(v) for k, v in self.keywords.items()})


def parse(text: str, vocabulary: Mapping[str, Callable[..., Any]]) -> Call:
    """Read an expression whose outermost part is a call; a name alone is a call without arguments.

    Parameters
    ----------
    text : str
        Such as ``"Adam(1e-3)"`` or ``"digits"``.
    vocabulary : mapping of str to callable
        The names that may occur.

    Raises
    ------
    ExpressionError
        If the text is no expression, or a name, an argument or the type of a literal argument is not known.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        place = f" at column {error.offset}" if error.offset else ""
        raise ExpressionError(
            f"{text!r} is no expression: {error.msg}{place}; write a call such as name(1, key=2)"
        ) from None
    except (RecursionError, MemoryError, ValueError) as error:
        raise ExpressionError(f"the text of {len(text)} characters is no expression: {error}") from None
    _check_depth(node)
    if isinstance(node, ast.Name | ast.Attribute):
        node = ast.Call(func=node, args=[], keywords=[])
    if not isinstance(node, ast.Call):
        raise ExpressionError(f"{text!r} was given, expected a call such as {next(iter(vocabulary))}(...)")
    return _call(node, vocabulary)


def build(value: Any) -> Any:
    """Make all calls in a value, containers included."""
    if isinstance(value, Call):
        return value.build()
    if isinstance(value, dict):
        return {build(k): build(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(build(v) for v in value)
    return value


def known(name: str, names: Iterable[str]) -> str:
    """Return the end of an error about an unknown name: the closest name, and all of them."""
    names = sorted(names)
    lower = {each.lower(): each for each in names}
    closest = difflib.get_close_matches(name, names, n=1) or [
        lower[each] for each in difflib.get_close_matches(name.lower(), lower, n=1)
    ]
    hint = f"did you mean {closest[0]!r}? " if closest else ""
    return f"{hint}known: {', '.join(names)}"


def _text(value: Any) -> str:
    """Return an expression of a literal: its repr, but for infinite numbers, whose repr is a name."""
    if isinstance(value, float) and math.isinf(value):
        return "1e999" if value > 0 else "-1e999"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))}{',' * (len(value) == 1)})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_text(k)}: {_text(v)}' for k, v in value.items())}}}"
    return repr(value)


def _value(node: ast.expr, vocabulary: Mapping[str, Callable[..., Any]]) -> Any:
    if isinstance(node, ast.Call):
        return _call(node, vocabulary)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | None):
        if isinstance(node.value, int) and node.value >= BEYOND:
            raise ExpressionError(f"a whole number of {node.value.bit_length()} bits was given, expected at most 64 bits")
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        number = _value(node.operand, vocabulary)
        if isinstance(number, int | float) and not isinstance(number, bool):
            return -number if isinstance(node.op, ast.USub) else number
    if isinstance(node, ast.List | ast.Tuple):
        items = [_value(item, vocabulary) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    if isinstance(node, ast.Dict) and all(isinstance(k, ast.Constant) for k in node.keys):
        pairs = zip(node.keys, node.values, strict=True)
        return {_value(k, vocabulary): _value(v, vocabulary) for k, v in pairs if k is not None}
    if isinstance(node, ast.Name) and node.id in vocabulary:
        raise ExpressionError(f"{node.id} is a name without a call: write {node.id}()")
    raise ExpressionError(
        f"{ast.unparse(node)!r} was given, expected a call, a number, a string, True, False, None, a list, a tuple "
        "or a dictionary: nothing is computed in a configuration"
    )


def _check_depth(node: ast.AST) -> None:
    """Raise ExpressionError where a tree is so deep that those who walk it, by recursion, could not."""
    level, depth = [node], 0
    while level:
        level, depth = [child for each in level for child in ast.iter_child_nodes(each)], depth + 1
        if depth > DEEPEST:
            raise ExpressionError(f"the expression is nested too deeply, expected at most {DEEPEST} levels")


def _call(node: ast.Call, vocabulary: Mapping[str, Callable[..., Any]]) -> Call:
    name = _name(node.func)
    if name not in vocabulary:
        raise ExpressionError(f"unknown name {name!r}; {known(name, vocabulary)}")
    if any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords):
        raise ExpressionError(f"{ast.unparse(node)!r}: * and ** cannot be used, write the arguments out")
    arguments = tuple(_value(a, vocabulary) for a in node.args)
    keywords = {k.arg: _value(k.value, vocabulary) for k in node.keywords if k.arg is not None}
    call = Call(name, vocabulary[name], arguments, keywords)
    _check(call)
    return call


def _name(node: ast.expr) -> str:
    """Return the name that is called, without the prefixes that a script would write."""
    parts = ast.unparse(node).split(".")
    while len(parts) > 1 and parts[0] in PREFIXES:
        del parts[0]
    return ".".join(parts)


def _check(call: Call) -> None:
    """Raise ExpressionError unless the arguments fit the function's signature and its plain annotations."""
    signature = inspect.signature(call.function)
    named = {
        n: p for n, p in signature.parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for name in call.keywords:
        if name not in named and not open_ended:
            raise ExpressionError(
                f"{call!r}: unknown argument {name!r}; {known(name, named) if named else 'it takes none'}"
            )
    try:
        bound = signature.bind(*call.arguments, **call.keywords)
    except TypeError as error:
        raise ExpressionError(f"{call!r}: {error}, expected {call.name}{_plain(signature)}") from None
    for name, value in bound.arguments.items():
        kinds = str(named[name].annotation).split(" | ") if name in named else []
        if any(kind not in TYPES and kind != "None" for kind in kinds) or not kinds:
            continue
        if not any(_fits(value, kind) for kind in kinds):
            raise ExpressionError(f"{call!r}: {name} is {value!r}, expected {' or '.join(kinds)}")


def _fits(value: Any, kind: str) -> bool:
    if kind == "None":
        return value is None
    return isinstance(value, TYPES[kind]) and (kind == "bool" or not isinstance(value, bool))


def _plain(signature: inspect.Signature) -> str:
    """Return a signature without annotations."""
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))
