"""A layer found by its path: the module, and which of the module's calls is meant."""

from __future__ import annotations

import re
from typing import NamedTuple

from torch import nn

from limelight.errors import LayerError, UnknownNameError, unknown

#: A layer as a user names it: its path, or the module itself.
Layer = str | nn.Module


#: Stands for the network's input instead of a layer: `A` is the images, `head` the whole network.
INPUT = "<input>"


class ResolvedLayer(NamedTuple):
    """A layer in a model.

    Attributes:
        module: The module; for the input, the whole model.
        path: Its dotted path, or `INPUT`.
        call: Which of its calls is meant, from 1; None if it runs only once.
    """

    module: nn.Module
    path: str
    call: int | None = None

    @property
    def name(self) -> str:
        """The path, with `#k` when one call of several was chosen."""
        return self.path if self.call is None else f"{self.path}#{self.call}"


def resolve(model: nn.Module, layer: str | nn.Module) -> ResolvedLayer:
    """Find a layer inside a model.

    1. Return the input, or a module that is given itself.
    2. Split a text into the path and the number of the call.
    3. Follow the path from module to module, by name or by index.

    Args:
        model: The network.
        layer: A dotted path (`"blocks.11.norm1"`), the same with Python's indices
            (`"blocks[-1].norm1"`), with `#k` for the k-th call, or the module itself.

    Raises:
        UnknownNameError: No module has that path; the nearest ones are named.
        LayerError: The module is not part of the model, or is the whole model.
    """
    # 1. The input, or a module.
    if layer == INPUT:
        return ResolvedLayer(model, INPUT)
    if isinstance(layer, nn.Module):
        for path, module in model.named_modules():
            if module is layer and path:
                return ResolvedLayer(module, path)
        what = (
            "the whole model" if layer is model else f"a {type(layer).__name__} outside the model"
        )
        raise LayerError(
            f"The layer given is {what}; a layer inside {type(model).__name__} was expected. "
            "Pass its dotted path; `limelight layers` lists them."
        )
    if not isinstance(layer, str):
        raise LayerError(
            f"The layer given is {layer!r}; a dotted path or a module inside "
            f"{type(model).__name__} was expected, as in 'layer4' or model.layer4. `limelight "
            "layers` lists them."
        )
    # 2. The path and the call.
    path, numbered, call = layer.partition("#")
    readable = re.fullmatch(r"[^.\[\]]+(\.[^.\[\]]+|\[-?\d+\])*", path)
    if not readable or (numbered and not re.fullmatch(r"[1-9]\d*", call)):
        raise LayerError(
            f"Cannot read the layer {layer!r}. A dotted path was expected, as in 'layer4.0' or "
            "'features[-1]'; after '#' may stand which call is meant, from 1, as in 'layer4#2'."
        )
    # 3. The module at the path.
    module, steps = model, list[str]()
    for step in re.findall(r"[^.\[\]]+|\[-?\d+\]", path):
        children = dict(module._modules.items())
        compiled = children.get("_orig_mod")
        if compiled is not None and step != "_orig_mod":  # torch.compile's wrapper
            children = dict(compiled._modules.items())
        names = list(children)
        where = ".".join(steps) or type(model).__name__
        name = step
        if step.startswith("["):
            index = int(step[1:-1])
            if not -len(names) <= index < len(names):
                raise UnknownNameError(
                    f"There is no layer {path!r}: {where!r} has {len(names)} modules inside."
                )
            name = names[index]
        child = children.get(name)
        if child is None:
            paths = (other for other, _ in model.named_modules() if other)
            inside = ", ".join(repr(n) for n in names[:8]) or "nothing"
            raise unknown("layer", path, paths, f"Inside {where!r} there is {inside}.")
        module, steps = child, [*steps, name]
    return ResolvedLayer(module, ".".join(steps), int(call) if call else None)
