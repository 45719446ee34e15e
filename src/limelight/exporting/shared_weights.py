"""Weights that an ONNX model holds twice, as they are and transposed, held once."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

#: Smaller weights are left as they are, in bytes.
_LEAST_BYTES = 4096


def share_weights(model: onnx.ModelProto) -> None:
    """Replace each weight that is another one, or another one transposed, by that one.

    The gradient of a linear layer reads its weights the other way round, and torch.onnx writes both
    down. A runtime transposes constants once, when it loads the file.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    known, kept, transposed, renamed = dict[str, str](), [], [], dict[str, str]()
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.nbytes < _LEAST_BYTES:
            kept.append(weight)
            continue
        digest = _digest(values)
        turned = known.get(_digest(values.T)) if values.ndim == 2 else None
        if digest in known:
            renamed[weight.name] = known[digest]
        elif turned is not None:
            transposed.append(helper.make_node("Transpose", [turned], [weight.name], perm=[1, 0]))
        else:
            known[digest] = weight.name
            kept.append(weight)
    nodes = [*transposed, *graph.node]
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)


def _digest(values: np.ndarray) -> str:
    """Return what tells an array from all others."""
    shape = f"{values.dtype}{values.shape}".encode()
    return sha256(shape + np.ascontiguousarray(values).tobytes()).hexdigest()
