"""Find and replace layers of a model: `pytorch_grad_cam.utils.find_layers`.

The two functions that replace change the model itself, as their callers want.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import nn


def replace_layer_recursive(model: nn.Module, old_layer: nn.Module, new_layer: nn.Module) -> bool:
    """Replace the first place of a layer in a model, and return whether there was one."""
    for name, layer in model._modules.items():
        if layer is old_layer:
            model._modules[name] = new_layer
            return True
        if layer is not None and replace_layer_recursive(layer, old_layer, new_layer):
            return True
    return False


def replace_all_layer_type_recursive(
    model: nn.Module, old_layer_type: type[nn.Module], new_layer: nn.Module
) -> None:
    """Replace every layer of a type, or of one derived from it, by one and the same layer."""
    for name, layer in model._modules.items():
        if isinstance(layer, old_layer_type):
            model._modules[name] = new_layer
        elif layer is not None:
            replace_all_layer_type_recursive(layer, old_layer_type, new_layer)


def find_layer_types_recursive(
    model: nn.Module, layer_types: Collection[type[nn.Module]]
) -> list[nn.Module]:
    """Return the layers inside a model of exactly one of these types, in order."""
    return find_layer_predicate_recursive(model, lambda layer: type(layer) in layer_types)


def find_layer_predicate_recursive(
    model: nn.Module, predicate: Callable[[nn.Module], bool]
) -> list[nn.Module]:
    """Return the layers inside a model for which a predicate holds; a layer before its own layers.

    A layer that is there twice is returned twice.
    """
    layers = list[nn.Module]()
    for layer in model._modules.values():
        if layer is not None:
            layers += [layer] if predicate(layer) else []
            layers += find_layer_predicate_recursive(layer, predicate)
    return layers
