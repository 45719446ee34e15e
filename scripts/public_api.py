"""What limelight offers, as it stands in the source: names, signatures, fields, methods.

    scripts/public_api.py           write tests/public_api.txt
    scripts/public_api.py --print   print it

tests/test_public_api.py demands that the file is as new. So a change to what users call shows in
the diff of a file that has no other purpose, and is decided there. The source is parsed and never
imported: the text depends on neither the version of Python nor on what is installed.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from house_report.imports import Module, read_modules

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "limelight"
PINNED = ROOT / "tests" / "public_api.txt"

#: The packages and modules that users import from.
OFFERING = (
    "limelight",
    "limelight.audits",
    "limelight.compat",
    "limelight.compat.article",
    "limelight.compat.pytorch_grad_cam",
    "limelight.deployed",
    "limelight.errors",
    "limelight.targets",
    "limelight.training",
)
WIDTH = 100
Function = ast.FunctionDef | ast.AsyncFunctionDef
#: What Python or a notebook calls, and nobody else: no part of what is offered.
UNLISTED = {"__post_init__", "__repr__", "__str__", "__getattr__", "__setattr__", "__hash__"}


@dataclass(frozen=True)
class Definition:
    """A class, function or value where it is defined.

    Attributes:
        module: The dotted name of the module.
        node: The statement that defines it.
    """

    module: str
    node: ast.stmt

    @property
    def name(self) -> str:
        """Return its name there."""
        if isinstance(self.node, Function | ast.ClassDef):
            return self.node.name
        return next(iter(_bound(self.node)))

    @property
    def path(self) -> str:
        """Return where it is, such as `limelight.pipeline.explain`."""
        return f"{self.module}.{self.name}"


@dataclass(frozen=True)
class Members:
    """What a class has that is public, its own and that of bases which are not public themselves.

    Attributes:
        fields: Class attributes and dataclass fields, by name, in order.
        made: Those that `__init__` sets, with the parameter of the same name, if there is one.
        methods: Methods, properties among them.
    """

    fields: dict[str, Definition] = field(default_factory=dict)
    made: dict[str, ast.expr | None] = field(default_factory=dict)
    methods: dict[str, Definition] = field(default_factory=dict)


class Package:
    """The modules of a package, and what names mean in them."""

    def __init__(self, tree: Path, offering: Sequence[str]) -> None:
        self.modules: Mapping[str, Module] = read_modules(tree)
        self.offering = offering

    @cached_property
    def _names(self) -> dict[str, dict[str, ast.stmt | tuple[str, str]]]:
        return {name: dict(_named(module)) for name, module in self.modules.items()}

    def find(self, module: str, name: str) -> Definition | None:
        """Return what a name means in a module; None for what comes from other packages.

        The name may be that of a module and one of its names: `render.MetricRanking`.
        """
        home, _, rest = name.partition(".")
        if rest:
            found = self._names.get(module, {}).get(home)
            inner = ".".join(found) if isinstance(found, tuple) else ""
            return self.find(inner, rest) if inner in self.modules else None
        if name in self._names.get(module, ()):
            found = self._names[module][name]
            return self.find(*found) if isinstance(found, tuple) else Definition(module, found)
        return None

    @cached_property
    def offered(self) -> dict[str, Definition]:
        """Return what is offered, by the dotted name that users write."""
        return {
            f"{home}.{name}": found
            for home in self.offering
            if home in self.modules
            for name in self.names_of(home)
            for found in [self.find(home, name)]
            if found is not None
        }

    def names_of(self, home: str) -> list[str]:
        """Return the names that a package offers: its `__all__`, or what it imports or defines."""
        for node in self.modules[home].syntax.body:
            if "__all__" in _bound(node) and isinstance(node, ast.Assign):
                if isinstance(node.value, ast.List):
                    return [ast.literal_eval(element) for element in node.value.elts]
                shown = [
                    name
                    for name, found in self._names[home].items()
                    if isinstance(found, tuple) and found[0].startswith(f"{home}.")
                ]
                return sorted(shown, key=lambda name: (not name.isupper(), name))
        own = [
            name
            for name, node in self._names[home].items()
            if isinstance(node, Function | ast.ClassDef) and is_public(name)
        ]
        return sorted(own)

    @cached_property
    def homes(self) -> dict[str, str]:
        """Return what is offered, by where it is defined, as users write it first."""
        homes = dict[str, str]()
        for name, found in self.offered.items():
            homes.setdefault(found.path, name)
        return homes

    def bases(self, found: Definition) -> list[Definition]:
        """Return the bases of a class that the package defines."""
        nodes = found.node.bases if isinstance(found.node, ast.ClassDef) else []
        named = [node.value if isinstance(node, ast.Subscript) else node for node in nodes]
        known = [self.find(found.module, ast.unparse(node)) for node in named]
        return [base for base in known if base is not None]

    def members(self, found: Definition) -> Members:
        """Return the public members of a class."""
        members = Members()
        for base in self.bases(found):
            if base.path not in self.homes:
                inherited = self.members(base)
                members.fields.update(inherited.fields)
                members.made.update(inherited.made)
                members.methods.update(inherited.methods)
        assert isinstance(found.node, ast.ClassDef)
        for node in found.node.body:
            if isinstance(node, Function):
                if node.name == "__init__":
                    members.made.update(_made(node))
                if is_public(node.name) and not _is_overload(node):
                    members.methods[node.name] = Definition(found.module, node)
            else:
                for name in _bound(node):
                    if is_public(name) and not name.startswith("__"):
                        members.fields[name] = Definition(found.module, node)
        for name in [*members.fields, *members.methods]:
            members.made.pop(name, None)
        return members


def is_public(name: str) -> bool:
    """Return whether a member belongs to what is offered."""
    if name.startswith("__") and name.endswith("__"):
        return name not in UNLISTED
    return not name.startswith("_")


def decorators(node: ast.stmt) -> list[str]:
    """Return the names of the decorators of a function or class, without their arguments."""
    marks = node.decorator_list if isinstance(node, Function | ast.ClassDef) else []
    named = [mark.func if isinstance(mark, ast.Call) else mark for mark in marks]
    return [ast.unparse(mark).rpartition(".")[2] for mark in named]


def is_property(node: ast.stmt) -> bool:
    """Return whether a method is read like an attribute."""
    return bool({"property", "cached_property"} & {*decorators(node)})


def _is_overload(node: ast.stmt) -> bool:
    """Return whether a function only tells of another one: its overload, its setter."""
    return bool({"overload", "setter", "deleter"} & {*decorators(node)})


def _bound(node: ast.stmt) -> list[str]:
    """Return the names that an assignment binds."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    inner = [node for target in targets for node in ast.walk(target)]
    return [node.id for node in inner if isinstance(node, ast.Name)]


def _made(init: Function) -> Iterator[tuple[str, ast.expr | None]]:
    """Go through the public attributes that `__init__` sets, with their annotations."""
    given = {arg.arg: arg.annotation for arg in all_arguments(init)}
    for node in ast.walk(init):
        pairs: list[tuple[ast.expr, ast.expr | None]]
        if isinstance(node, ast.AnnAssign):
            pairs = [(node.target, node.annotation)]
        elif isinstance(node, ast.Assign):
            ends, values = _side(node.targets[0]), _side(node.value)
            told = [
                given.get(value.id) if isinstance(value, ast.Name) else None for value in values
            ]
            pairs = [*zip(ends, told + [None] * len(ends), strict=False)]
        else:
            continue
        for target, annotation in pairs:
            if (
                isinstance(target, ast.Attribute)
                and ast.unparse(target.value) == "self"
                and is_public(target.attr)
            ):
                yield target.attr, annotation


def _side(node: ast.expr) -> list[ast.expr]:
    """Return what stands on one side of an assignment, `a, b` as two."""
    return node.elts if isinstance(node, ast.Tuple) else [node]


def all_arguments(node: Function) -> list[ast.arg]:
    """Return the parameters of a function in order."""
    args = node.args
    rest = [arg for arg in (args.vararg, args.kwarg) if arg is not None]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *rest]


def _named(module: Module) -> Iterator[tuple[str, ast.stmt | tuple[str, str]]]:
    """Go through what names mean in a module: a statement, or a name of another module."""
    for node in _statements(module.syntax.body):
        if isinstance(node, Function | ast.ClassDef):
            if not _is_overload(node):
                yield node.name, node
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, (node.module or "", alias.name)
        else:
            for name in _bound(node):
                yield name, node


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.If):  # TYPE_CHECKING
            yield from _statements([*node.orelse, *node.body])
        else:
            yield node


def written(annotation: ast.expr | None) -> str:
    """Return a type as it is written, without quotes; "?" if there is none."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value
    return "?" if annotation is None else ast.unparse(annotation)


def signature(head: str, node: Function, bound: bool) -> str:
    """Return a function's signature, in one line if it fits, and else a line per parameter."""
    end = f") -> {written(node.returns)}"
    parts = list(_parameters(node.args))
    if bound and "staticmethod" not in decorators(node):
        parts = parts[1:]
    line = f"{head}({', '.join(parts)}{end}"
    if len(line) <= WIDTH:
        return line
    indent = " " * (len(head) - len(head.lstrip()))
    return "\n".join([f"{head}(", *(f"{indent}    {part}," for part in parts), f"{indent}{end}"])


def _parameters(args: ast.arguments) -> Iterator[str]:
    """Go through parameters as they are written, `/` and `*` among them."""
    positional = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(positional) - len(args.defaults)) + [*args.defaults]
    for place, (arg, default) in enumerate(zip(positional, defaults, strict=True), 1):
        yield _parameter(arg, default)
        if place == len(args.posonlyargs):
            yield "/"
    if args.vararg is not None or args.kwonlyargs:
        yield "*" + (_parameter(args.vararg, None) if args.vararg else "")
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        yield _parameter(arg, default)
    if args.kwarg is not None:
        yield "**" + _parameter(args.kwarg, None)


def _parameter(arg: ast.arg, default: ast.expr | None) -> str:
    told = f"{arg.arg}: {written(arg.annotation)}" if arg.annotation else arg.arg
    return told if default is None else f"{told} = {ast.unparse(default)}"


def described(package: Package, name: str, found: Definition) -> list[str]:
    """Return the lines that tell what an offered name is."""
    home = package.homes[found.path]
    if home != name:
        return [f"{name} is {home}"]
    node = found.node
    if isinstance(node, ast.ClassDef):
        return _class_lines(package, name, found)
    if isinstance(node, Function):
        return [signature(f"def {name}", node, bound=False)]
    return [_value_line(name, node)]


def _value_line(name: str, node: ast.stmt) -> str:
    """Return a line on a value: its type if that is written, and else the value, if short."""
    if isinstance(node, ast.AnnAssign):
        value = "" if node.value is None else ast.unparse(node.value)
        end = f" = {value}" if value and len(value) < WIDTH else ""
        return f"{name}: {written(node.annotation)}{end}"
    assert isinstance(node, ast.Assign)
    value = ast.unparse(node.value)
    return f"{name} = {value}" if len(value) < WIDTH else name


def _class_lines(package: Package, name: str, found: Definition) -> list[str]:
    assert isinstance(found.node, ast.ClassDef)
    bases = [ast.unparse(base) for base in found.node.bases]
    private = {base.name for base in package.bases(found) if base.path not in package.homes}
    shown = [base for base in bases if base.partition("[")[0] not in private]
    marks = [ast.unparse(mark) for mark in found.node.decorator_list]
    lines = [f"class {name}" + (f"({', '.join(shown)})" if shown else "")]
    lines += [f"    @{mark}" for mark in marks]
    members = package.members(found)
    lines += [f"    {_value_line(member, one.node)}" for member, one in members.fields.items()]
    lines += [f"    {member}: {written(told)}" for member, told in sorted(members.made.items())]
    for member, one in sorted(members.methods.items()):
        method = one.node
        assert isinstance(method, Function)
        if is_property(method):
            lines.append(f"    {member}: {written(method.returns)}  (property)")
        else:
            kinds = {"classmethod", "staticmethod"} & {*decorators(method)}
            head = "".join(f"@{kind} " for kind in kinds)
            lines.append(signature(f"    {head}def {member}", method, bound=True))
    return lines


def public_api(package: Package) -> str:
    """Return the text of tests/public_api.txt."""
    parts = [
        "# What limelight offers. `python scripts/public_api.py` writes this file; "
        "a change of it is a decision.\n"
    ]
    for home in package.offering:
        offered = [f"{home}.{name}" for name in package.names_of(home)]
        lines = [
            "\n".join(described(package, name, package.offered[name]))
            for name in offered
            if name in package.offered
        ]
        parts.append(f"# {home}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file, or print it."""
    parser = argparse.ArgumentParser(
        "scripts/public_api.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--print", action="store_true", dest="shown")
    asked = parser.parse_args(arguments)
    text = public_api(Package(SOURCE, OFFERING))
    if asked.shown:
        print(text, end="")
    else:
        PINNED.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
