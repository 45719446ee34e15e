"""Changes of a syntax tree: expressions replaced, statements added, taken out, or dissolved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import libcst as cst
from libcst import matchers as m

_Statement = cst.BaseStatement | cst.SimpleStatementLine


@dataclass(slots=True)
class Edits:
    """What to change, by the nodes of the tree.

    Attributes:
        expressions: What stands in the place of an expression.
        before: Statements to add before one, as code.
        comments: Comments to add before one.
        removed: The statements to take out; their comments stay.
        dissolved: The with statements whose bodies take their place.
    """

    expressions: dict[cst.CSTNode, cst.BaseExpression] = field(default_factory=dict)
    before: dict[cst.CSTNode, list[str]] = field(default_factory=dict)
    comments: dict[cst.CSTNode, list[str]] = field(default_factory=dict)
    removed: set[cst.CSTNode] = field(default_factory=set)
    dissolved: set[cst.CSTNode] = field(default_factory=set)

    def add(self, other: Edits) -> None:
        """Add the changes of another one."""
        self.expressions |= other.expressions
        for node, statements in other.before.items():
            self.before.setdefault(node, []).extend(statements)
        for node, comments in other.comments.items():
            self.comments.setdefault(node, []).extend(comments)
        self.removed |= other.removed
        self.dissolved |= other.dissolved

    def apply(self, module: cst.Module) -> cst.Module:
        """Return the tree with the changes."""
        return module.visit(_Editor(self))


class _Editor(cst.CSTTransformer):
    """Makes the changes, from the inside out."""

    def __init__(self, edits: Edits) -> None:
        super().__init__()
        self._edits = edits

    def on_leave(  # type: ignore[override]
        self, original_node: cst.CSTNode, updated_node: cst.CSTNode
    ) -> cst.CSTNode:
        """Change a node, when all inside it is changed."""
        if original_node in self._edits.expressions:
            return self._edits.expressions[original_node]
        updated = updated_node
        if isinstance(original_node, cst.Module | cst.IndentedBlock):
            assert isinstance(updated, cst.Module | cst.IndentedBlock)
            return self._block(original_node, updated)
        return updated

    def _block(
        self, original: cst.Module | cst.IndentedBlock, updated: cst.Module | cst.IndentedBlock
    ) -> cst.Module | cst.IndentedBlock:
        """Change the statements of a block."""
        body, waiting = list[_Statement](), list[cst.EmptyLine]()
        for old, now in zip(original.body, updated.body, strict=True):
            group, left = self._statement(old, now)
            if group:
                lead = _leading(group[0])
                group[0] = group[0].with_changes(leading_lines=_joined(waiting, lead))
                waiting = []
            body += group
            waiting += left
        if not body and original.body:
            body.append(cst.SimpleStatementLine([cst.Pass()], leading_lines=_comments(waiting)))
            waiting = []
        footer = (*_comments(waiting), *updated.footer)
        return updated.with_changes(body=body, footer=footer)

    def _statement(
        self, old: cst.CSTNode, now: _Statement
    ) -> tuple[list[_Statement], list[cst.EmptyLine]]:
        """Return what stands in the place of a statement, and the lines that are left of it."""
        edits = self._edits
        lead = list(_leading(now))
        if old in edits.removed:
            return [], [*lead, *_inner_comments(now)]
        group, left = [now], list[cst.EmptyLine]()
        if old in edits.dissolved:
            assert isinstance(now, cst.With)
            assert isinstance(now.body, cst.IndentedBlock)
            group, left = list(now.body.body), list(now.body.footer)
            header = _inner_comments(now.with_changes(body=cst.IndentedBlock([])))
            lead = [*lead, *header, *_leading(group[0])] if group else lead
        added = [cst.parse_statement(code) for code in edits.before.get(old, ())]
        lead += [cst.EmptyLine(comment=cst.Comment(text)) for text in edits.comments.get(old, ())]
        group = [*added, *(each for each in group)]
        if added:
            group[len(added)] = group[len(added)].with_changes(leading_lines=())
        group[0] = group[0].with_changes(leading_lines=lead)
        return group, left


def _leading(statement: _Statement) -> Sequence[cst.EmptyLine]:
    lines: Sequence[cst.EmptyLine] = getattr(statement, "leading_lines", ())
    return lines


def _comments(lines: Sequence[cst.EmptyLine]) -> list[cst.EmptyLine]:
    return [line for line in lines if line.comment is not None]


def _inner_comments(node: cst.CSTNode) -> list[cst.EmptyLine]:
    """Return the comments inside a statement, each on a line of its own."""
    bare = node.with_changes(leading_lines=())
    return [cst.EmptyLine(comment=c) for c in m.findall(bare, m.Comment())]  # type: ignore[arg-type]


def _joined(waiting: Sequence[cst.EmptyLine], lead: Sequence[cst.EmptyLine]) -> list[cst.EmptyLine]:
    """Join the lines left of statements that were taken out with those before the next one."""
    if not waiting:
        return list(lead)
    blank_before = waiting[0].comment is None
    blank = [cst.EmptyLine(indent=False)] if blank_before else []
    kept = _comments(waiting)
    rest = list(lead)
    if not kept and rest and rest[0].comment is None:
        blank = []
    return [*blank, *kept, *rest]
