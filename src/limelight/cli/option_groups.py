"""Options that commands share: they are the fields of a dataclass, a group.

A command takes groups as parameters; `expand_groups` shows typer a parameter for each field.

    def explain(*, network_options: NetworkOptions, layer: OneLayer = None) -> None: ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from inspect import Parameter
from pathlib import Path
from typing import Any, get_type_hints

import typer


def expand_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with one parameter for each option, as typer reads them.

    The returned function makes the groups from the options, and passes them to the command.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters = list(_single_options(inspect.signature(command).parameters.values(), hints))

    def run(**values: Any) -> None:
        made = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**values, **made)

    run.__doc__ = command.__doc__
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _single_options(parameters: Iterable[Parameter], hints: dict[str, Any]) -> Iterator[Parameter]:
    """Yield one parameter for each option of a command, in order."""
    for parameter in parameters:
        hint = hints[parameter.name]
        if not is_dataclass(hint):
            yield parameter.replace(annotation=hint)
            continue
        types = get_type_hints(hint, include_extras=True)
        for field in fields(hint):
            yield Parameter(
                field.name,
                Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=types[field.name],
            )


def _checked_name(text: str | Path) -> str:
    """Return a name as it was given; an empty one would mean the working directory."""
    if text == "":
        raise typer.BadParameter("an empty name; that of a file or a folder was expected")
    return str(text)


def _checked_path(text: str | Path) -> Path:
    return Path(_checked_name(text))


def name_option(*names: str, help: str, metavar: str = "FILE") -> Any:
    """Return an option that takes the name of a file."""
    return typer.Option(*names, metavar=metavar, parser=_checked_name, help=help)


def out_option(help: str) -> Any:
    """Return the option --out."""
    return path_option("--out", "-o", help=help)


def path_option(*names: str, help: str) -> Any:
    """Return an option that takes a file or a folder."""
    return typer.Option(*names, metavar="PATH", parser=_checked_path, help=help)


def path_argument(metavar: str, *, help: str) -> Any:
    """Return an argument that is a file."""
    return typer.Argument(metavar=metavar, parser=_checked_path, help=help)
