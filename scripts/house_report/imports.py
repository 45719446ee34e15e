"""How the modules of a package import each other, and in which order they should."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

#: The rooms, from the bottom up. A module imports from rooms before its own: of lower rows, and of
#: those to the left in its own row. The package itself offers all and stands above all.
ORDER = (
    (
        "version",
        "skill",
        "errors",
        "extras",
        "deprecations",
        "plain",
        "lazy",
        "lock",
        "files",
        "progress",
        "ahead",
        "collector",
        "translations",
    ),
    ("peer_names", "misnamed", "notebook"),
    (
        "channels",
        "packing",
        "packed_inputs",
        "input_images",
        "inputs",
        "patch_grids",
        "pixels",
        "finish",
        "finish_arrays",
        "registry",
        "status",
        "window_scores",
        "text_words",
        "digests",
    ),
    ("layers", "targets"),
    ("evidence", "methods"),
    ("options",),
    ("runtime",),
    ("target_evidence",),
    ("photos", "models"),
    ("figure_style", "render"),
    (
        "drawing",
        "map_scales",
        "map_views",
        "explanation_pictures",
        "recipe",
        "provenance",
        "manifests",
        "explanation_arrays",
        "tables",
        "regions",
        "explanation",
        "fusion",
        "text_explanation",
    ),
    ("tiling", "application", "pipeline", "photo_pipeline", "text_pipeline", "aligned", "film"),
    ("repetition",),
    ("metrics",),
    ("comparison", "concepts", "tracing"),
    ("steps", "vision_language"),
    ("audits", "training"),
    ("web",),
    ("examination",),
    ("deployed",),
    ("exporting",),
    ("compat",),
    ("cli",),
    ("__main__",),
)


@dataclass(frozen=True)
class Module:
    """A file of the package, read."""

    name: str
    path: Path
    lines: int
    syntax: ast.Module


class Import(NamedTuple):
    """What one module takes from another one of the package.

    Attributes:
        importer: The dotted name of the module that imports.
        imported: That of the module it imports, or imports from.
        name: What it takes from there; "" when it takes the module itself.
        local: What that is called where it was imported.
        line: Where.
        for_types: Whether only a type checker imports it.
    """

    importer: str
    imported: str
    name: str
    local: str
    line: int
    for_types: bool

    def __str__(self) -> str:
        """Return it as a line of details."""
        end = " (TYPE_CHECKING)" if self.for_types else ""
        return f"{self.importer}:{self.line} imports {self.imported} {self.name}".rstrip() + end


def read_modules(tree: Path) -> dict[str, Module]:
    """Return the modules of a package by their dotted names."""
    modules = dict[str, Module]()
    for path in sorted(tree.rglob("*.py")):
        parts = [tree.name, *path.relative_to(tree).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        modules[name] = Module(name, path, len(text.splitlines()), ast.parse(text))
    return modules


def read_imports(modules: dict[str, Module]) -> list[Import]:
    """Return all imports between modules, wherever in a file they stand.

    `from package import name` imports the module `package.name` if there is one.
    """
    return [
        Import(module.name, imported, name, local, node.lineno, node in for_types)
        for module in modules.values()
        for for_types in [_for_types(module.syntax)]
        for node in ast.walk(module.syntax)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for imported, name, local in _taken(node, module, modules)
        if imported in modules
    ]


def _for_types(syntax: ast.Module) -> set[ast.AST]:
    """Return what stands under `if TYPE_CHECKING`."""
    conditions = [node for node in ast.walk(syntax) if isinstance(node, ast.If)]
    shown = [node for node in conditions if ast.unparse(node.test).endswith("TYPE_CHECKING")]
    positive = [node for node in shown if not isinstance(node.test, ast.UnaryOp)]
    return {inner for node in positive for child in node.body for inner in ast.walk(child)}


def _taken(
    node: ast.Import | ast.ImportFrom, module: Module, modules: dict[str, Module]
) -> Iterator[tuple[str, str, str]]:
    """Go through what an import statement takes: module, name or "", local name."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name, "", alias.asname or alias.name
    else:
        home = node.module or ""
        if node.level:
            parts = module.name.split(".")
            kept = len(parts) - node.level + (module.path.name == "__init__.py")
            home = ".".join([*parts[:kept], *home.split(".")]).rstrip(".")
        for alias in node.names:
            local, inner = alias.asname or alias.name, f"{home}.{alias.name}"
            yield (inner, "", local) if inner in modules else (home, alias.name, local)


def circles(imports: Iterable[Import]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others.

    They are the strongly connected components of the graph of imports. A module that takes a
    sibling from their package (`from package import sibling`) imports the package, too; the package
    of all offers its names lazily and is exempt.
    """
    graph = defaultdict[str, set[str]](set)
    for edge in imports:
        graph[edge.importer].add(edge.imported)
        package = edge.imported.rpartition(".")[0]
        if not edge.name and "." in package and edge.importer.startswith(f"{package}."):
            graph[edge.importer].add(package)
    reached = {module: _reached(graph, module) for module in list(graph)}
    groups = {
        frozenset(other for other in reached[module] if module in reached.get(other, ()))
        for module in reached
    }
    return sorted(sorted(group) for group in groups if group)


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    """Return the modules that are loaded because of one; itself too if it is in a circle."""
    reached, waiting = set[str](), list(graph.get(start, ()))
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting.extend(graph.get(module, ()))
    return reached


def room_of(module: str) -> str:
    """Return the room of a module; "" for the package itself."""
    return [*module.split("."), ""][1]


def unplaced_rooms(modules: Iterable[str], order: tuple[tuple[str, ...], ...] = ORDER) -> list[str]:
    """Return the rooms, top-level modules and packages, that have no place in the order."""
    return sorted({room_of(module) for module in modules} - {"", *chain(*order)})


def upward_imports(
    imports: Iterable[Import], order: tuple[tuple[str, ...], ...] = ORDER
) -> list[Import]:
    """Return the imports from a room that comes later in the order than the importer's."""
    places = {room: place for place, room in enumerate([*chain(*order), ""])}
    return [
        edge
        for edge in imports
        for lower, upper in [(room_of(edge.importer), room_of(edge.imported))]
        if lower in places and upper in places and places[lower] < places[upper]
    ]


def private_uses(modules: dict[str, Module], imports: Iterable[Import]) -> list[str]:
    """Return where a private name of another module is imported, or read as its attribute."""
    edges = list(imports)
    uses = [str(edge) for edge in edges if _is_private(edge.name)]
    for module in modules.values():
        known = {edge.local for edge in edges if edge.importer == module.name and not edge.name}
        for node in ast.walk(module.syntax):
            if isinstance(node, ast.Attribute) and _is_private(node.attr):
                owner = ast.unparse(node.value)
                if owner in known:
                    uses.append(f"{module.name}:{node.lineno} reads {owner}.{node.attr}")
    return uses


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")
