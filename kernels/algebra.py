"""Formulas of one number: read from text, differentiated, and written as Numba source, CUDA text and array operations.

A text such as ``"z / (1 + abs(z))"`` is parsed by Python's own parser, but never run: only what `FUNCTIONS`, `CONSTANTS` and
arithmetic know is taken over, into a list of nodes without loops or names (equal parts once). All three translations are
made from that list, and so is the derivative, by the chain rule.
"""

from __future__ import annotations

import ast
import difflib
import math
import operator
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from paralift.kernels.arrays import Array, family, namespace

LONGEST, MOST_NODES = 2000, 2000
"""Characters of a formula, and nodes of one with its derivative."""
CONSTANTS: Mapping[str, float] = {"pi": math.pi, "e": math.e, "inf": math.inf}
HIGHEST_POWER = 16
"""Whole powers up to this one are products."""


class FormulaError(ValueError):
    """A text that is no formula."""


class Node(NamedTuple):
    """One operation on nodes before it; constants have a value, names are arguments of the formula."""

    op: str
    args: tuple[int, ...] = ()
    value: Any = None


class Operation(NamedTuple):
    """How an operation is written; `array` takes the library and the operands."""

    numba: str
    cuda: str
    array: Callable[..., Any]


def _named(name: str, numba: str = "", cuda: str = "", array: str = "") -> Operation:
    """Return the operation of a function that all libraries know."""
    return Operation(f"{numba or name}({{}})", f"{cuda or name}({{}})", lambda xp, u: getattr(xp, array or name)(u))


def _arc(name: str) -> Callable[..., Any]:
    """Return an inverse function, which NumPy before version 2 and CuPy know by an older name."""
    return lambda xp, u: getattr(xp, f"a{name}" if hasattr(xp, f"a{name}") else f"arc{name}")(u)


def _erf(xp: Any, u: Array) -> Array:
    kind = family(u)
    if kind == "numpy":
        from scipy.special import erf
    elif kind == "cupy":
        from cupyx.scipy.special import erf
    else:
        raise TypeError(f"erf is not known for arrays of type {type(u).__module__}.{type(u).__qualname__}")
    return erf(u)


def _infix(sign: str, array: Callable[..., Any]) -> Operation:
    return Operation(f"{{}} {sign} {{}}", f"{{}} {sign} {{}}", lambda xp, u, v: array(u, v))


OPERATIONS: Mapping[str, Operation] = {
    "add": _infix("+", operator.add),
    "sub": _infix("-", operator.sub),
    "mul": _infix("*", operator.mul),
    "div": _infix("/", operator.truediv),
    "neg": Operation("-{}", "-{}", lambda xp, u: -u),
    "pow": Operation("{} ** {}", "pow({}, {})", lambda xp, u, v: u**v),
    "lt": _infix("<", operator.lt),
    "le": _infix("<=", operator.le),
    "eq": _infix("==", operator.eq),
    "and": Operation("{} and {}", "{} && {}", lambda xp, u, v: u & v),
    "or": Operation("{} or {}", "{} || {}", lambda xp, u, v: u | v),
    "not": Operation("not {}", "!{}", lambda xp, u: ~u if hasattr(u, "shape") else not u),
    "where": Operation("{1} if {0} else {2}", "{0} ? {1} : {2}", lambda xp, c, u, v: _where(xp, c, u, v)),
    "abs": _named("abs", cuda="fabs"),
    "sqrt": _named("sqrt", numba="np.sqrt"),
    "floor": _named("floor", numba="np.floor"),
    "exp": _named("exp"),
    "expm1": _named("expm1", numba="np.expm1"),
    "log": _named("log", numba="np.log"),
    "log1p": _named("log1p"),
    "sin": _named("sin", numba="np.sin"),
    "cos": _named("cos", numba="np.cos"),
    "tan": _named("tan", numba="np.tan"),
    "sinh": _named("sinh", numba="np.sinh"),
    "cosh": _named("cosh", numba="np.cosh"),
    "tanh": _named("tanh"),
    "arctan": Operation("arctan({})", "atan({})", _arc("tan")),
    "arcsinh": Operation("np.arcsinh({})", "asinh({})", _arc("sinh")),
    "erf": Operation("math.erf({})", "erf({})", _erf),
}
CONDITIONS = {"lt", "le", "eq", "and", "or", "not"}
MADE = {"sign": 1, "min": 2, "max": 2, "clip": 3, "where": 3}
"""Functions that are made of others, and how many arguments they take."""
FUNCTIONS = {name: 1 for name, o in OPERATIONS.items() if "(" in o.numba} | MADE | {"atan": 1, "asinh": 1}
"""What a formula may call, and the number of its arguments."""
_BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}
_COMPARE = {ast.Lt: ("lt", 0), ast.LtE: ("le", 0), ast.Gt: ("lt", 1), ast.GtE: ("le", 1), ast.Eq: ("eq", 0)}


def _where(xp: Any, condition: Any, u: Any, v: Any) -> Any:
    if not hasattr(condition, "shape"):
        return u if condition else v
    like = next((w for w in (u, v) if hasattr(w, "shape")), None)
    if like is None:
        like = xp.zeros(condition.shape)
    return xp.where(condition, *(w if hasattr(w, "shape") else xp.full_like(like, w) for w in (u, v)))


class Formula:
    """A function of the numbers `names`, the first of which is its variable.

    Parameters
    ----------
    text : str
        An expression: numbers, `names`, pi, e, inf, + - * / **, comparisons in ``u if c else v`` or ``where(c, u, v)``, and the
        functions of `FUNCTIONS`.
    names : tuple of str

    Raises
    ------
    FormulaError
        Naming what is not known.
    """

    def __init__(self, text: str, names: tuple[str, ...]) -> None:
        self.text, self.names = text, names
        self.nodes: list[Node] = []
        self._index: dict[Node, int] = {}
        self.root = _Reader(self).read()

    @cached_property
    def derivative(self) -> Formula:
        """The derivative in the first of the names; at a kink or a step that of one side, or 0."""
        found = Formula.__new__(Formula)
        found.text, found.names, found.nodes, found._index = f"d/d{self.names[0]} {self.text}", self.names, [], {}
        found.nodes, found._index = list(self.nodes), dict(self._index)
        found.root = _Chain(found).of(self.root)
        return found

    def node(self, op: str, *args: int) -> int:
        """Return the number of an operation on nodes, simplified where it is plain how."""
        values = [self.nodes[k].value if self.nodes[k].op == "constant" else None for k in args]
        if op == "mul" and 0.0 in values:
            return self.constant(0.0)
        if op in ("add", "mul") and values[0] == (op == "mul"):
            return args[1]
        if op in ("add", "sub", "mul", "div") and values[1] == (op in ("mul", "div")):
            return args[0]
        if op == "div" and values[0] == 0.0:
            return self.constant(0.0)
        if op == "neg" and values[0] is not None:
            return self.constant(-values[0])
        if op == "where" and args[1] == args[2]:
            return args[1]
        if op in ("add", "sub", "mul") and all(v is not None and math.isfinite(v) for v in values):
            return self.constant(OPERATIONS[op].array(None, *values))
        return self._add(Node(op, args))

    def constant(self, value: float) -> int:
        """Return the number of a constant."""
        return self._add(Node("constant", (), float(value)))

    def name(self, name: str) -> int:
        """Return the number of an argument."""
        return self._add(Node("name", (), name))

    def is_condition(self, k: int) -> bool:
        """Return whether node `k` is true or false instead of a number."""
        return self.nodes[k].op in CONDITIONS

    def _add(self, node: Node) -> int:
        if node not in self._index:
            if len(self.nodes) >= MOST_NODES:
                raise FormulaError(f"{self.text[:60]!r}...: more than {MOST_NODES} operations")
            self._index[node] = len(self.nodes)
            self.nodes.append(node)
        return self._index[node]

    def _needed(self) -> list[int]:
        """Return the nodes that the root is made of, in the order of their computation."""
        needed = {self.root}
        for k in range(self.root, -1, -1):
            if k in needed:
                needed.update(self.nodes[k].args)
        return sorted(needed)

    def __call__(self, variable: Array, **values: float) -> Array:
        """Return the formula's values at an array (or a number), the other names as numbers."""
        xp: Any = namespace(variable) if hasattr(variable, "shape") else np
        given = {self.names[0]: variable, **values}
        found: dict[int, Any] = {}
        with np.errstate(all="ignore"):  # branches that are not taken are computed too
            for k in self._needed():
                node = self.nodes[k]
                if node.op == "constant":
                    found[k] = node.value
                elif node.op == "name":
                    found[k] = given[node.value]
                else:
                    operands = [found[i] for i in node.args]
                    plain = not any(hasattr(u, "shape") for u in operands)
                    if plain:  # NumPy's numbers, which overflow and divide by zero as arrays do
                        operands = [u if isinstance(u, bool) else np.float64(u) for u in operands]
                    result = OPERATIONS[node.op].array(np if plain else xp, *operands)
                    found[k] = (bool if node.op in CONDITIONS else float)(result) if plain else result
        value = found[self.root]
        if hasattr(variable, "shape") and not hasattr(value, "shape"):
            return xp.full_like(variable, value)
        return value

    def numba(self, name: str) -> str:
        """Return the source of a Python function for Numba, all numbers of the type of the first argument."""
        lines = [f"def {name}({', '.join(self.names)}):", f"    T = type({self.names[0]})"]
        lines += [f"    {k} = {v}" for k, _, v in self._statements("numba", "T(math.inf)")]
        return "\n".join([*lines, f"    return T(t{self.root})", ""])

    def cuda(self, name: str, arguments: str) -> str:
        """Return the text of a member function of a CUDA struct ``Act<T>``."""
        lines = [f"const {'bool' if c else 'T'} {k} = {v};" for k, c, v in self._statements("cuda", "T(1) / T(0)")]
        return f"  __device__ T {name}({arguments}) const {{ {' '.join(lines)} return t{self.root}; }}\n"

    def _statements(self, language: str, infinity: str) -> list[tuple[str, bool, str]]:
        """Return (name, whether it is a condition, expression) of all nodes in order."""
        found = []
        for k in self._needed():
            node = self.nodes[k]
            if node.op == "constant":
                sign = "-" if node.value < 0 else ""
                value = f"T({node.value!r})" if math.isfinite(node.value) else f"{sign}{infinity}"
            elif node.op == "name":
                value = f"T({node.value})"
            else:
                value = getattr(OPERATIONS[node.op], language).format(*(f"t{i}" for i in node.args))
            found.append((f"t{k}", self.is_condition(k), value))
        return found


class _Reader:
    """Reads a text into the nodes of a formula."""

    def __init__(self, formula: Formula) -> None:
        self.to = formula

    def read(self) -> int:
        text = self.to.text
        if not isinstance(text, str) or not text.strip() or len(text) > LONGEST:
            raise FormulaError(f"{str(text)[:60]!r} was given, expected a formula of at most {LONGEST} characters")
        try:
            return self.number(ast.parse(text.strip(), mode="eval").body)
        except SyntaxError as error:
            raise FormulaError(f"{text!r} is no formula: {error.msg}") from None
        except (RecursionError, MemoryError):
            raise FormulaError(f"{text[:60]!r}... is nested too deeply") from None
        except FormulaError as error:
            raise FormulaError(f"{text!r}: {error}") from None

    def number(self, node: ast.expr) -> int:
        found = self.any(node)
        if self.to.is_condition(found):
            raise FormulaError(f"{ast.unparse(node)!r} is true or false, expected a number: write where(condition, u, v)")
        return found

    def condition(self, node: ast.expr) -> int:
        found = self.any(node)
        if not self.to.is_condition(found):
            raise FormulaError(f"{ast.unparse(node)!r} is a number, expected a condition such as {self.to.names[0]} < 0")
        return found

    def any(self, node: ast.expr) -> int:
        to = self.to
        match node:
            case ast.Constant(value=bool()):
                pass
            case ast.Constant(value=int() | float() as value) if abs(value) < 1e300:
                return to.constant(value)
            case ast.Name(id=name) if name in to.names:
                return to.name(name)
            case ast.Name(id=name) if name in CONSTANTS:
                return to.constant(CONSTANTS[name])
            case ast.Name(id=name):
                raise FormulaError(f"{name!r} is not known{_known(name, [*to.names, *CONSTANTS, *FUNCTIONS])}")
            case ast.BinOp(left=u, op=ast.Pow(), right=v):
                return self.power(self.number(u), self.number(v))
            case ast.BinOp(left=u, op=op, right=v) if type(op) in _BINARY:
                return to.node(_BINARY[type(op)], self.number(u), self.number(v))
            case ast.UnaryOp(op=ast.USub(), operand=u):
                return to.node("neg", self.number(u))
            case ast.UnaryOp(op=ast.UAdd(), operand=u):
                return self.number(u)
            case ast.UnaryOp(op=ast.Not(), operand=u):
                return to.node("not", self.condition(u))
            case ast.BoolOp(op=op, values=values):
                return self.fold("and" if isinstance(op, ast.And) else "or", [self.condition(v) for v in values])
            case ast.Compare(left=left, ops=ops, comparators=others) if all(type(o) in _COMPARE for o in ops):
                sides = [self.number(s) for s in (left, *others)]
                pairs = zip(ops, sides[:-1], sides[1:], strict=True)
                return self.fold("and", [self.compare(_COMPARE[type(o)], u, v) for o, u, v in pairs])
            case ast.IfExp(test=c, body=u, orelse=v):
                return to.node("where", self.condition(c), self.number(u), self.number(v))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self.call(name, args)
        raise FormulaError(
            f"{ast.unparse(node)[:60]!r} cannot stand in a formula, expected numbers, {', '.join(to.names)}, + - * / **, "
            "comparisons, where(condition, u, v) and functions such as exp"
        )

    def compare(self, how: tuple[str, int], u: int, v: int) -> int:
        return self.to.node(how[0], *((v, u) if how[1] else (u, v)))

    def fold(self, op: str, conditions: list[int]) -> int:
        found = conditions[0]
        for other in conditions[1:]:
            found = self.to.node(op, found, other)
        return found

    def power(self, u: int, v: int) -> int:
        to, exponent = self.to, self.to.nodes[v]
        if exponent.op == "constant" and exponent.value == 0.5:
            return to.node("sqrt", u)
        if exponent.op == "constant" and exponent.value == int(exponent.value) and abs(exponent.value) <= HIGHEST_POWER:
            found = to.constant(1.0)
            for _ in range(abs(int(exponent.value))):
                found = to.node("mul", found, u)
            return found if exponent.value >= 0 else to.node("div", to.constant(1.0), found)
        if exponent.op == "constant" or exponent.value in to.names[1:]:
            return to.node("pow", u, v)
        raise FormulaError("an exponent is a number or a parameter: write exp(v * log(u)) for another")

    def call(self, name: str, args: list[ast.expr]) -> int:
        to = self.to
        if name not in FUNCTIONS:
            raise FormulaError(f"the function {name!r} is not known{_known(name, FUNCTIONS)}")
        if len(args) != FUNCTIONS[name] or any(isinstance(a, ast.Starred) for a in args):
            raise FormulaError(f"{name} takes {FUNCTIONS[name]} argument{'s' * (FUNCTIONS[name] > 1)}, {len(args)} given")
        if name == "where":
            return to.node("where", self.condition(args[0]), self.number(args[1]), self.number(args[2]))
        u, *rest = (self.number(a) for a in args)
        if name == "sign":
            return sign(to, u)
        if name == "clip":
            return self.larger(self.smaller(u, rest[1]), rest[0])
        if name in ("max", "min"):
            return (self.larger if name == "max" else self.smaller)(u, *rest)
        return to.node({"atan": "arctan", "asinh": "arcsinh"}.get(name, name), u)

    def larger(self, u: int, v: int) -> int:
        return self.to.node("where", self.to.node("lt", u, v), v, u)  # a NaN in u stays

    def smaller(self, u: int, v: int) -> int:
        return self.to.node("where", self.to.node("lt", v, u), v, u)


def sign(to: Formula, u: int) -> int:
    """Return the sign of node `u`, 0 at 0."""
    zero = to.constant(0.0)
    negative = to.node("where", to.node("lt", u, zero), to.constant(-1.0), u)
    return to.node("where", to.node("lt", zero, u), to.constant(1.0), negative)


def _known(name: str, names: Any) -> str:
    closest = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {closest[0]!r}?" if closest else f": known are {', '.join(names)}"


class _Chain:
    """The chain rule: adds the derivative's nodes to those of a formula."""

    def __init__(self, to: Formula) -> None:
        self.to = to
        self.known: dict[int, int] = {}

    def of(self, root: int) -> int:
        for k in range(root + 1):  # a node comes after those it is made of
            self.known[k] = self.rule(k)
        return self.known[root]

    def rule(self, k: int) -> int:
        to, (op, args, value) = self.to, self.to.nodes[k]
        zero = to.constant(0.0)
        if op == "name":
            return to.constant(float(value == to.names[0]))
        d = [self.known[i] for i in args]
        if op == "where":
            return to.node("where", args[0], d[1], d[2])
        if op in CONDITIONS or op in ("constant", "floor") or all(i == zero for i in d):
            return zero
        if op in ("add", "sub"):
            return to.node(op, *d)
        if op == "neg":
            return to.node("neg", d[0])
        if op == "mul":
            return to.node("add", to.node("mul", d[0], args[1]), to.node("mul", args[0], d[1]))
        if op == "div":  # (u' - (u/v) v') / v, in which nothing is squared
            return to.node("div", to.node("sub", d[0], to.node("mul", k, d[1])), args[1])
        return to.node("mul", self.outer(op, k, *args), d[0])

    def outer(self, op: str, k: int, u: int, *rest: int) -> int:
        """Return the derivative of a function of one number at `u`, where its value is node `k`."""
        to, one = self.to, self.to.constant(1.0)
        square = to.node("mul", u, u)
        if op == "pow":
            return to.node("mul", rest[0], to.node("pow", u, to.node("sub", rest[0], one)))
        if op == "abs":
            return sign(to, u)
        if op == "exp":
            return k
        if op == "expm1":
            return to.node("exp", u)
        if op == "log":
            return to.node("div", one, u)
        if op == "log1p":
            return to.node("div", one, to.node("add", one, u))
        if op == "sqrt":
            return to.node("div", to.constant(0.5), k)
        if op == "sin":
            return to.node("cos", u)
        if op == "cos":
            return to.node("neg", to.node("sin", u))
        if op == "tan":
            return to.node("add", one, to.node("mul", k, k))
        if op == "sinh":
            return to.node("cosh", u)
        if op == "cosh":
            return to.node("sinh", u)
        if op == "tanh":
            return to.node("mul", to.node("sub", one, k), to.node("add", one, k))
        if op == "arctan":
            return to.node("div", one, to.node("add", one, square))
        if op == "arcsinh":
            return to.node("div", one, to.node("sqrt", to.node("add", one, square)))
        if op == "erf":
            gauss = to.node("exp", to.node("neg", square))
            return to.node("mul", to.constant(2.0 / math.sqrt(math.pi)), gauss)
        raise NotImplementedError(op)
