"""Groups of options: dataclasses whose fields are options of a command."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from limelight.cli import COMMANDS, load_command
from limelight.cli.option_groups import expand_groups


@dataclass(frozen=True, kw_only=True)
class Sizes:
    width: Annotated[int, typer.Option(help="How wide.")] = 3
    height: Annotated[int, typer.Option("--height", "-h", min=1)] = 4


@dataclass(frozen=True, kw_only=True)
class NamedSizes(Sizes):
    width: Annotated[int, typer.Option(help="How wide it is, in cells.")] = 5
    name: Annotated[str | None, typer.Option()] = None


def draw(*, before: bool = False, sizes: NamedSizes, after: int = 1) -> None:
    """Draw."""
    typer.echo(f"{before} {sizes} {after}")


def drawn(*words: str) -> str:
    app = typer.Typer()
    app.command()(expand_groups(draw))
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output.strip()


def test_a_group_becomes_its_options() -> None:
    command = expand_groups(draw)
    names = list(inspect.signature(command).parameters)
    assert names == ["before", "width", "height", "name", "after"]
    assert command.__doc__ == draw.__doc__


def test_the_command_gets_the_group() -> None:
    assert drawn() == "False NamedSizes(width=5, height=4, name=None) 1"
    words = ("--before", "-h", "2", "--name", "a b", "--after", "7", "--width", "1")
    assert drawn(*words) == "True NamedSizes(width=1, height=2, name='a b') 7"


def test_an_option_that_two_groups_have_is_refused() -> None:
    def twice(*, sizes: Sizes, named: NamedSizes) -> None:
        """Do nothing."""

    with pytest.raises(ValueError, match="duplicate parameter name"):
        expand_groups(twice)


@pytest.mark.parametrize("name", COMMANDS)
def test_no_two_options_of_a_command_have_the_same_name(name: str) -> None:
    names = [text for option in load_command(name).params for text in option.opts]
    assert len(names) == len(set(names))
