"""The page of a walkthrough, read."""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

import limelight.steps


@dataclass(eq=False)
class Node:
    """An element of a page."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Node | str] = field(default_factory=list)

    def all(self, tag: str = "", kind: str = "", **attributes: str) -> Iterator[Node]:
        """Yield the elements inside, in order, that have a tag, a class and attributes."""
        for child in self.children:
            if isinstance(child, str):
                continue
            classes = child.attributes.get("class", "").split()
            asked = attributes.items() <= child.attributes.items()
            if tag in ("", child.tag) and (not kind or kind in classes) and asked:
                yield child
            yield from child.all(tag, kind, **attributes)

    def one(self, tag: str = "", kind: str = "", **attributes: str) -> Node:
        (found,) = self.all(tag, kind, **attributes)
        return found

    def first(self, tag: str = "", kind: str = "", **attributes: str) -> Node:
        return next(self.all(tag, kind, **attributes))

    @property
    def text(self) -> str:
        return "".join(one if isinstance(one, str) else one.text for one in self.children)

    @property
    def seen(self) -> str:
        """What people read: no scripts, no styles."""
        hidden = ("script", "style")
        return "".join(
            one if isinstance(one, str) else one.seen
            for one in self.children
            if isinstance(one, str) or one.tag not in hidden
        )


class Reader(HTMLParser):
    """Reads a page into a tree, and refuses tags that are not balanced."""

    void = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Node("page")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute twice in <{tag}>"
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(node)
        if tag not in self.void:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read(page: str) -> Node:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert [node.tag for node in reader.open] == ["page"], "elements are left open"
    return reader.open[0]


def packed_in(page: Node) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(page.one("script", id="maps").text))


def unpacked(one: dict[str, Any]) -> npt.NDArray[Any]:
    """Return the values of a map in the page."""
    values = np.frombuffer(base64.b64decode(one["data"]), f"<{one['type']}")
    return values.reshape(one["rows"], one["columns"])


def rows_of(page: Node) -> list[Node]:
    """Return the rows of the table of layers that are layers."""
    table = page.one("table", "layers")
    return [
        row for row in table.all("tr") if row.attributes.get("class") in ("body", "cut", "head")
    ]


def path_of(row: Node) -> str:
    return row.first("code").text


def told(language: str) -> dict[str, Any]:
    folder = Path(limelight.steps.__file__).parent / "html"
    return tomllib.loads((folder / f"{language}.toml").read_text(encoding="utf-8"))
