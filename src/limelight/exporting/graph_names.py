"""The names of the values in an ONNX graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def rename_values(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Give values of a graph, and of the graphs inside its nodes, other names."""
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
        for inner in inner_graphs(node):
            rename_values(inner, names)


def inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Iterate over the graphs inside a node, as the branches of an `If`."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def values_read(node: onnx.NodeProto) -> Iterator[str]:
    """Iterate over the names of the values that a node reads, also inside its graphs."""
    yield from filter(None, node.input)
    for graph in inner_graphs(node):
        for inner in graph.node:
            yield from values_read(inner)
        for output in graph.output:
            yield output.name
