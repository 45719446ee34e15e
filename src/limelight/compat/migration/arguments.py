"""The arguments of a call, by their names."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from limelight.compat.migration.remarks import NotRewrittenError

Arguments = dict[str, cst.BaseExpression]


def bind(call: cst.Call, names: Sequence[str], also: Sequence[str] = ()) -> Arguments:
    """Return the arguments of a call by name.

    Args:
        call: The call.
        names: The names of the parameters, in order.
        also: Those of parameters that are only passed by keyword.

    Raises:
        NotRewrittenError: An argument is none of these.
    """
    bound = Arguments()
    positions = iter(names)
    for argument in call.args:
        if argument.star:
            raise NotRewrittenError("what *args and **kwargs hold is not in the script")
        name = argument.keyword.value if argument.keyword else next(positions, "")
        if not name:
            raise NotRewrittenError("it has more arguments than are known")
        if name not in names and name not in also:
            raise NotRewrittenError(f"limelight has no counterpart for the argument {name!r}")
        bound[name] = argument.value
    return bound


def is_constant(node: cst.BaseExpression | None, *values: str) -> bool:
    """Return whether an argument is one of the constants `True`, `False` and `None`, as named."""
    return isinstance(node, cst.Name) and node.value in values


def is_off(node: cst.BaseExpression | None) -> bool:
    """Return whether an argument is left out, `None` or `False`."""
    return node is None or is_constant(node, "None", "False")
