"""Which of Cosmic Ray's changes are made, and where: what could be a mistake, and what a test could notice."""

import ast
from collections.abc import Iterator

from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.plugins import OPERATOR_PROVIDERS
from parso.tree import BaseNode, NodeOrLeaf

Position = tuple[int, int]

BINARY = (
    "Add_Sub Sub_Add Mul_Div Div_Mul FloorDiv_Mul Mod_Mul Pow_Mul LShift_RShift RShift_LShift BitOr_BitAnd BitAnd_BitOr"
)
COMPARISON = "Eq_NotEq NotEq_Eq Lt_LtE LtE_Lt Gt_GtE GtE_Gt Is_IsNot IsNot_Is"
OTHERS = (
    "ReplaceUnaryOperator_Delete_USub ReplaceUnaryOperator_Delete_Not ReplaceUnaryOperator_Delete_Invert AddNot "
    "ReplaceTrueWithFalse ReplaceFalseWithTrue ReplaceAndWithOr ReplaceOrWithAnd ReplaceBreakWithContinue "
    "ReplaceContinueWithBreak ExceptionReplacer NumberReplacer RemoveDecorator ZeroIterationForLoop"
)


class RemoveKeyword(Operator):
    """Calls without one of their arguments by name, so that the default stands: a setting that is not passed on."""

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[tuple[Position, Position]]:
        """Yields where an argument by name stands among others."""
        for argument in self._keywords(node):
            yield argument.start_pos, argument.end_pos

    def mutate(self, node: BaseNode, index: int) -> BaseNode:
        """Removes the argument and the comma on its one side."""
        argument = list(self._keywords(node))[index]
        place = node.children.index(argument)
        del node.children[place : place + 2]
        if place and place == len(node.children):
            del node.children[-1]
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Returns what the tool's own test of operators looks at."""
        return (Example("f(x, y=1)", "f(x)"), Example("f(x=1, y=2)", "f( y=2)"))

    @staticmethod
    def _keywords(node: NodeOrLeaf) -> Iterator[BaseNode]:
        if node.type == "arglist" and node.parent.type == "trailer":
            for child in node.children:
                if child.type == "argument" and getattr(child.children[1], "value", None) == "=":
                    yield child


OPERATOR_PROVIDERS["ours"] = {"RemoveKeyword": RemoveKeyword}

OPERATORS = (
    *(f"core/ReplaceBinaryOperator_{name}" for name in BINARY.split()),
    *(f"core/ReplaceComparisonOperator_{name}" for name in COMPARISON.split()),
    *(f"core/{name}" for name in OTHERS.split()),
    "ours/RemoveKeyword",
)
"""No `a << b` for `a + b`: what raises an error wherever it runs tells nothing of a test."""

_IDLE_DECORATORS = {"njit", "cache", "lru_cache", "abstractmethod", "overload", "override", "dataclass"}
_LOOKS = set(
    "linewidth linewidths zorder alpha fontsize color marker markersize solid_capstyle pad figsize panel_height "
    "xlim ylim xticks yticks".split()
)
_WORDING = {"warning", "warn", "info", "debug", "print"}


def unnoticeable(source: str) -> list[tuple[Position, Position]]:
    """Returns the parts of a module where no test could notice a change, by design, as (line, column) ranges.

    Types; the wording of errors and logs; the arguments of decorators (a frozen dataclass, a compiler's options);
    guards against our own mistakes: `assert`, and `strict` of `zip`; the look of figures.
    """
    lines = source.split("\n")

    def position(line: int, byte: int) -> Position:
        return line, len(lines[line - 1].encode()[:byte].decode())

    return [
        (position(part.lineno, part.col_offset), position(part.end_lineno or 0, part.end_col_offset or 0))
        for node in ast.walk(ast.parse(source))
        for part in _unnoticeable_parts(node)
    ]


def _unnoticeable_parts(node: ast.AST) -> Iterator[ast.expr | ast.stmt | ast.keyword]:
    match node:
        case ast.arg(annotation=ast.expr() as part) | ast.AnnAssign(annotation=part):
            yield part
        case ast.Raise(exc=ast.expr() as part):
            yield part
        case ast.Assert():
            yield node
        case ast.ClassDef(bases=[ast.Name(id="Protocol")]) | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            yield node
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            yield node
        case ast.Call(func=ast.Name(id="zip")):
            yield from (keyword for keyword in node.keywords if keyword.arg == "strict")
        case ast.keyword(arg=str(name)) if name in _LOOKS:
            yield node
        case ast.Expr(value=ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name))) if name in _WORDING:
            yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns:
        yield node.returns
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call):
                yield from (*decorator.args, *decorator.keywords)


def is_idle(name: str, node: NodeOrLeaf) -> bool:
    """Tells whether a change shows nothing of tests.

    A decorator without effect, or without which nothing works; the `*` of a `def`; the sign of `dim=-1`, which is also
    1 of a matrix.
    """
    if name == "core/RemoveDecorator":
        return node.children[1].get_code().partition("(")[0].split(".")[-1].strip() in _IDLE_DECORATORS
    if name == "core/ReplaceUnaryOperator_Delete_USub" and node.parent.type == "argument":
        return node.parent.children[0].get_code().strip() == "dim"
    return node.parent is not None and node.parent.type == "parameters"
