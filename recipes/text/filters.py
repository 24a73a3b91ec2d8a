"""Filter expressions on a corpus's columns: `education >= 4 and type == "case"`.

A small part of Python's syntax, read with `ast` and never executed: comparisons, and/or/not, in, constants.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from medlingua.languages.errors import InputError, kind_of, near, shown

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, choices: value in choices,
    ast.NotIn: lambda value, choices: value not in choices,
}
_REMEDY = "all columns of a CSV are text (write '4'), and a missing value is None (write x != None and x > 4)"


def compile_filter(expression: str, corpus: str) -> Callable[[Mapping[str, Any]], bool]:
    """A test of one document's columns. InputError where the expression, or on a document where it fails."""
    where = f"filter of corpus {corpus}, {expression!r}"
    try:
        tree = ast.parse(expression, mode="eval").body
    except SyntaxError as error:
        raise InputError(f"{where}: not an expression at column {error.offset}; write: education >= 4") from error
    _check(tree, where)

    def accepts(columns: Mapping[str, Any]) -> bool:
        return bool(_evaluate(tree, columns, where))

    return accepts


def _check(node: ast.expr, where: str) -> None:
    match node:
        case ast.BoolOp(values=parts) | ast.List(elts=parts) | ast.Tuple(elts=parts):
            for part in parts:
                _check(part, where)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=inner):
            _check(inner, where)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARISONS for op in ops):
            for part in (left, *others):
                _check(part, where)
        case ast.Name() | ast.Constant():
            pass
        case _:
            raise InputError(
                f"{where}: '{ast.unparse(node)}' is not allowed; "
                "use columns, constants, comparisons, and, or, not, in"
            )


def _evaluate(node: ast.expr, columns: Mapping[str, Any], where: str) -> Any:
    match node:
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_evaluate(part, columns, where) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_evaluate(part, columns, where) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return not _evaluate(inner, columns, where)
        case ast.UnaryOp(operand=inner):
            value = _evaluate(inner, columns, where)
            try:
                return -value
            except TypeError as error:
                raise InputError(
                    f"{_at(where, columns)}: no minus before {kind_of(value)} in '{ast.unparse(node)}'; {_REMEDY}",
                    text=repr(value),
                ) from error
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_evaluate(part, columns, where) for part in parts]
        case ast.Name(id=name):
            if name not in columns:
                raise InputError(
                    f"{_at(where, columns)}: no column '{name}' among the {len(columns)} that are there"
                    f"{near(name, columns)}; name one of them",
                    text=", ".join(columns),
                )
            return columns[name]
        case ast.Constant(value=value):
            return value
        case ast.Compare(left=left, ops=ops, comparators=others):
            value = _evaluate(left, columns, where)
            for op, other in zip(ops, others, strict=True):
                right = _evaluate(other, columns, where)
                try:
                    if not _COMPARISONS[type(op)](value, right):
                        return False
                except TypeError as error:
                    raise InputError(
                        f"{_at(where, columns)}: cannot compare {kind_of(value)} with {kind_of(right)} in "
                        f"'{ast.unparse(node)}'; {_REMEDY}",
                        text=f"{value!r} and {right!r}",
                    ) from error
                value = right
            return True
    raise AssertionError(ast.dump(node))


def _at(where: str, columns: Mapping[str, Any]) -> str:
    """The filter, and the document that it fails on."""
    return f"{where}, document {shown(str(columns['id']))}" if "id" in columns else where
