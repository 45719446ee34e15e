"""The network inside its wrappers: DataParallel, `torch.compile`, ultralytics' YOLO, and alike."""

from __future__ import annotations

import torch
from torch import nn

from limelight.errors import ModelError


def unwrap(model: nn.Module) -> nn.Module:
    """Return the network inside DataParallel, DistributedDataParallel, `torch.compile` or YOLO.

    Raises:
        ModelError: The model is not an eager `nn.Module`.
    """
    if not isinstance(model, nn.Module):
        kind, holds = type(model).__name__, isinstance(getattr(model, "model", None), nn.Module)
        advice = " Pass its .model, which is one." if holds else ""
        raise ModelError(f"The model is a {kind}; a torch.nn.Module was expected.{advice}")
    if isinstance(model, torch.jit.ScriptModule):
        raise scripted_error(model)
    if type(model).__name__ == "FullyShardedDataParallel":  # without importing it
        raise ModelError(
            "The model is wrapped in FullyShardedDataParallel, which keeps its weights flat and in "
            "shards. Explain what is inside, with the weights put together: with "
            "FullyShardedDataParallel.summon_full_params(model, writeback=False): "
            "limelight.explain(model.module, images)."
        )
    if isinstance(model, torch.fx.GraphModule) and not _runs_modules(model):
        raise ModelError(
            "The model is an exported program, whose modules no longer run one by one, so that it "
            "cannot be cut. Pass the eager model, or torch.export.unflatten(program)."
        )
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrap(model.module)
    if is_ultralytics(model) or type(model).__module__ == "ultralytics.nn.autobackend":
        return unwrap(model.model)  # type: ignore[arg-type]
    # Not getattr: a module that passes unknown attributes on would be taken for a wrapper.
    compiled = model._modules.get("_orig_mod")
    if compiled is not None:
        return unwrap(compiled)
    return model


def is_ultralytics(model: object) -> bool:
    """Return whether a model is an object of ultralytics that holds a network, such as YOLO."""
    # By name, as the package is only there if the user has it.
    names = {(base.__module__, base.__name__) for base in type(model).__mro__}
    return ("ultralytics.engine.model", "Model") in names


def _runs_modules(graph: torch.fx.GraphModule) -> bool:
    """Return whether a traced graph still calls modules, other than the guards that export adds."""
    return any(
        node.op == "call_module" and not str(node.target).startswith("_guards")
        for node in graph.graph.nodes
    )


def scripted_error(module: nn.Module) -> ModelError:
    """Return the error for a scripted module."""
    return ModelError(
        f"{type(module).__name__} is a ScriptModule, which cannot be cut: its inside no longer "
        "runs in Python. Pass the eager model that it was scripted or traced from."
    )
