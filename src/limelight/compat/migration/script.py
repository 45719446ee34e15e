"""A parsed script, and questions about its names: what they mean, and where they were assigned."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import libcst as cst
from libcst import matchers as m
from libcst.metadata import (
    CodeRange,
    MetadataWrapper,
    ParentNodeProvider,
    PositionProvider,
    QualifiedNameProvider,
    QualifiedNameSource,
    Scope,
    ScopeProvider,
)

from limelight.compat.migration.remarks import NotRewrittenError
from limelight.errors import ScriptError

_SHIM = "limelight.compat.pytorch_grad_cam"
_Node = TypeVar("_Node", bound=cst.CSTNode)
_BLOCKS = (cst.Module, cst.IndentedBlock, cst.SimpleStatementSuite)
_LOOPS = (cst.For, cst.While)


class Script:
    """A script in Python, parsed.

    Attributes:
        module: Its syntax tree.
        words: All names in it.
    """

    def __init__(self, source: str) -> None:
        """Parse the source.

        Raises:
            ScriptError: It is not Python.
        """
        wrapper = MetadataWrapper(_parsed(source), unsafe_skip_copy=True)
        self.module = wrapper.module
        self._meanings = wrapper.resolve(QualifiedNameProvider)
        self._scopes = wrapper.resolve(ScopeProvider)
        self._parents = wrapper.resolve(ParentNodeProvider)
        self._positions: Mapping[cst.CSTNode, CodeRange] = wrapper.resolve(PositionProvider)
        self.words = {node.value for node in self.nodes(cst.Name)}

    def nodes(self, kind: type[_Node], inside: cst.CSTNode | None = None) -> list[_Node]:
        """Return the nodes of a kind, in the order in which they stand."""
        found = m.findall(inside or self.module, m.MatchIfTrue(lambda node: isinstance(node, kind)))
        return sorted(found, key=self.start)  # type: ignore[arg-type]

    def code(self, node: cst.CSTNode) -> str:
        """Return the code of a node."""
        return self.module.code_for_node(node).strip()

    def start(self, node: cst.CSTNode) -> tuple[int, int]:
        """Return line and column at which a node begins."""
        start = self._positions[node].start
        return start.line, start.column

    def line(self, node: cst.CSTNode) -> int:
        """Return the line at which a node begins, from 1."""
        return self.start(node)[0]

    def parent(self, node: cst.CSTNode) -> cst.CSTNode:
        """Return the node that holds a node."""
        return self._parents[node]

    def ancestors(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """Yield what holds a node, from the inside out."""
        while (parent := self._parents.get(node)) is not None:
            yield parent
            node = parent

    def statement(self, node: cst.CSTNode) -> cst.CSTNode:
        """Return the statement that a node stands in: one of the nodes that a block lists."""
        for outer in self.ancestors(node):
            if isinstance(outer, _BLOCKS):
                return node
            node = outer
        return node

    def imported(self, node: cst.CSTNode) -> str:
        """Return the full name of what was imported and is named here; "" for all else.

        Names of the drop-in count as those of grad-cam.
        """
        meanings: Any = self._meanings.get(node, ())
        for meaning in meanings() if callable(meanings) else meanings:  # some are found lazily
            if meaning.source is QualifiedNameSource.IMPORT:
                return re.sub(f"^{re.escape(_SHIM)}", "pytorch_grad_cam", meaning.name)
        return ""

    def references(self, name: cst.Name) -> list[cst.Name]:
        """Return where a variable is read, in order."""
        found = {
            access.node
            for assignment in self._assignments(name)
            for access in assignment.references
            if isinstance(access.node, cst.Name)
        }
        return sorted(found, key=self.start)

    def _assignments(self, name: cst.Name) -> set[cst.metadata.BaseAssignment]:
        scope = self._scope(name)
        return set() if scope is None else set(scope[name.value])

    def _scope(self, node: cst.CSTNode) -> Scope | None:
        return self._scopes.get(node)

    def definition(self, name: cst.Name) -> cst.Name | None:
        """Return the name in the assignment that gave a variable its value here, if it is certain.

        It is the last assignment before, in the same block or one around it. None if another one
        may have come between: in a branch, in a loop, or in another function.
        """
        assigned = [each.node for each in self._assignments(name) if hasattr(each, "node")]
        before = [node for node in assigned if self.start(node) < self.start(name)]
        if not before:
            return None
        last = max(before, key=self.start)
        block = self._block(last)
        if not isinstance(last, cst.Name) or block not in set(self.ancestors(name)):
            return None
        others = [node for node in assigned if node is not last]
        if self._function(last) is not self._function(name) and others:
            return None
        return None if self._runs_between(others, last, name) else last

    def check_unchanged(self, used: cst.CSTNode, place: cst.CSTNode) -> None:
        """Check that the variables of an expression have the same value at a later place.

        Raises:
            NotRewrittenError: One may have changed.
        """
        bound = {each.value for each in self._bound_inside(used)}
        for name in [used] if isinstance(used, cst.Name) else self.nodes(cst.Name, used):
            if self._is_attribute_or_keyword(name) or name.value in bound:
                continue
            here = self._assignments(name)
            scope = self._scope(place)
            there = set() if scope is None else set(scope[name.value])
            assigned = [each.node for each in here if hasattr(each, "node")]
            moved = self._function(used) is not self._function(place) and len(assigned) > 1
            later = [n for n in assigned if self.start(n) > self.start(used)]
            between = [n for n in later if self.start(n) < self.start(self.statement(place))]
            if here != there or moved or between or self._runs_between(later, used, place):
                raise NotRewrittenError(f"{name.value!r} may have changed in between")

    def _bound_inside(self, used: cst.CSTNode) -> list[cst.Name]:
        """Return the names that an expression itself binds: in comprehensions and lambdas."""
        targets = [each.target for each in self.nodes(cst.CompFor, used)]
        parameters = [each.name for each in self.nodes(cst.Param, used)]
        names = [name for target in targets for name in m.findall(target, m.Name())]
        return [*(name for name in names if isinstance(name, cst.Name)), *parameters]

    def _is_attribute_or_keyword(self, name: cst.Name) -> bool:
        parent = self.parent(name)
        return (isinstance(parent, cst.Attribute) and parent.attr is name) or (
            isinstance(parent, cst.Arg) and parent.keyword is name
        )

    def _runs_between(
        self, others: Sequence[cst.CSTNode], early: cst.CSTNode, late: cst.CSTNode
    ) -> bool:
        """Return whether a loop that `late` is in, and `early` is not, runs one of the others."""
        around = set(self.ancestors(early))
        loops = [n for n in self.ancestors(late) if isinstance(n, _LOOPS) and n not in around]
        return any(loop in set(self.ancestors(other)) for loop in loops for other in others)

    def _block(self, node: cst.CSTNode) -> cst.CSTNode:
        return self.parent(self.statement(node))

    def _function(self, node: cst.CSTNode) -> cst.CSTNode:
        kinds = (cst.FunctionDef, cst.Lambda, cst.ClassDef, cst.Module)
        return next(outer for outer in self.ancestors(node) if isinstance(outer, kinds))

    def value(self, name: cst.Name) -> cst.BaseExpression | None:
        """Return the expression that a variable was assigned, as `name = expression`, if any."""
        defined = self.definition(name)
        if defined is None:
            return None
        target = self.parent(defined)
        assign = self.parent(target) if isinstance(target, cst.AssignTarget) else None
        if isinstance(assign, cst.Assign) and len(assign.targets) == 1:
            return assign.value
        return None


def _parsed(source: str) -> cst.Module:
    """Return the syntax tree of a script.

    Python's own parser comes first: libcst's ends the process where code is nested too deeply.

    Raises:
        ScriptError: It is not Python.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes in the script's texts
            ast.parse(source)
        return cst.parse_module(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError, cst.ParserSyntaxError) as error:
        number = getattr(error, "lineno", None) or getattr(error, "raw_line", None) or 0
        line = "".join(source.splitlines()[max(0, number - 1) : number]).strip()
        where = f": line {number}, {line[:60]!r}" if line else ""
        raise ScriptError(
            f"The script is not Python that can be parsed{where}. Mend it, and migrate it again."
        ) from error
