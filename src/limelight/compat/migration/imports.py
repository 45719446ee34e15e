"""The imports of a rewritten script: of the drop-in where names of grad-cam are still used."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst
from libcst.metadata import MetadataWrapper, ScopeProvider
from libcst.metadata.scope_provider import Assignment

from limelight.compat.migration.peers import PEERS

_GRAD_CAM = "pytorch_grad_cam"
_HOME = "limelight.compat"


def renew_imports(module: cst.Module) -> cst.Module:
    """Take out imports of other libraries that nothing reads; import grad-cam from the drop-in."""
    wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
    unread = set[cst.CSTNode]()
    for scope in set(wrapper.resolve(ScopeProvider).values()):
        for assignment in scope.assignments if scope is not None else ():
            if isinstance(assignment, Assignment) and not assignment.references:
                unread |= _aliases(assignment.node, assignment.name)
    return wrapper.module.visit(_ImportEditor(unread))


def _aliases(node: cst.CSTNode, name: str) -> set[cst.CSTNode]:
    """Return the names in an import statement that a variable gets its value from."""
    if not isinstance(node, cst.Import | cst.ImportFrom) or isinstance(node.names, cst.ImportStar):
        return set()
    return {alias for alias in node.names if _local(alias) == name}


def _local(alias: cst.ImportAlias) -> str:
    return alias.evaluated_alias or alias.evaluated_name.partition(".")[0]


def _dotted(path: str) -> cst.Attribute | cst.Name:
    parsed = cst.parse_expression(path)
    assert isinstance(parsed, cst.Attribute | cst.Name)
    return parsed


class _ImportEditor(cst.CSTTransformer):
    """Changes the imports of other libraries."""

    def __init__(self, unread: set[cst.CSTNode]) -> None:
        super().__init__()
        self._unread = unread

    def leave_ImportFrom(
        self, original_node: cst.ImportFrom, updated_node: cst.ImportFrom
    ) -> cst.ImportFrom | cst.RemovalSentinel:
        module = original_node.module
        path = cst.Module([]).code_for_node(module) if module is not None else ""
        bare = path.removeprefix(f"{_HOME}.")
        if original_node.relative or bare.partition(".")[0] not in PEERS:
            return updated_node
        if bare == path and path.partition(".")[0] == _GRAD_CAM:
            updated_node = updated_node.with_changes(module=_dotted(f"{_HOME}.{path}"))
        if isinstance(original_node.names, cst.ImportStar):
            return updated_node
        kept = [
            alias
            for old, alias in zip(original_node.names, updated_node.names, strict=True)  # type: ignore[arg-type]
            if old not in self._unread
        ]
        if not kept:
            return cst.RemoveFromParent()
        if updated_node.rpar is None:
            return updated_node.with_changes(names=_ended(kept))
        # Within parentheses the last comma may stay, and with it where the line ends.
        *_, last = updated_node.names  # type: ignore[misc]
        kept[-1] = kept[-1].with_changes(comma=last.comma)
        return updated_node.with_changes(names=kept)

    def leave_Import(
        self, original_node: cst.Import, updated_node: cst.Import
    ) -> cst.Import | cst.ImportFrom | cst.RemovalSentinel:
        packages = [alias.evaluated_name.partition(".")[0] for alias in original_node.names]
        if not set(packages) & PEERS.keys():
            return updated_node
        kept = [
            alias
            for alias, package in zip(original_node.names, packages, strict=True)
            if package not in PEERS or alias not in self._unread
        ]
        if not kept:
            return cst.RemoveFromParent()
        whole = len(kept) == 1 and kept[0].evaluated_name == _GRAD_CAM
        if whole:
            return cst.ImportFrom(
                _dotted(_HOME), [kept[0].with_changes(comma=cst.MaybeSentinel.DEFAULT)]
            )
        renamed = [
            alias.with_changes(name=_dotted(f"{_HOME}.{alias.evaluated_name}"))
            if alias.evaluated_name.startswith(f"{_GRAD_CAM}.") and alias.asname
            else alias
            for alias in kept
        ]
        return updated_node.with_changes(names=_ended(renamed))

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        """Leave `pass` where nothing else is left."""
        if original_node.body and not updated_node.body:
            return updated_node.with_changes(body=[cst.SimpleStatementLine([cst.Pass()])])
        return updated_node


def _ended(aliases: Sequence[cst.ImportAlias]) -> list[cst.ImportAlias]:
    """Return names of an import without a comma after the last one."""
    *first, last = aliases
    return [*first, last.with_changes(comma=cst.MaybeSentinel.DEFAULT)]
