"""Messages of torch and of scripts around other libraries, and what limelight does there.

tests/test_site_pages.py tries those that can be tried on a CPU.
"""

from __future__ import annotations

_PASSED_ON = (
    "The network itself raises this, and limelight passes it on as it is: `model(images)` alone "
    "does the same. "
)

#: The beginning of a message, and the answer.
FOREIGN = {
    "element 0 of tensors does not require grad and does not have a grad_fn": "A script called "
    "`backward` under `torch.no_grad()`, or on a network whose parameters are frozen. "
    "`limelight.explain` needs neither gradients of parameters nor a change of your flags: it "
    "works under `no_grad` and `inference_mode`, with frozen parameters and with images that "
    "require no gradient. If the network itself detaches, limelight says so: the status "
    '[`disconnected`](#status-disconnected), or "the model\'s output carries no graph".',
    "CUDA out of memory": "Explain fewer images at once, or with `limelight.explain_photos`, "
    "which goes through them in batches. Methods that run the network again take `chunk=1`, the "
    'number of changed images that run together. A layer further back, `layer="layer4"` say, '
    "keeps less of the graph than an early one or the input. bfloat16 halves what is kept "
    "([speed](guide.md#speed)). For large pictures, `views=limelight.tiles()` goes through windows "
    "([large pictures](guide.md#large-pictures)).",
    "Expected more than 1 value per channel when training": "A batch norm in training mode was "
    "given a single image. limelight explains in evaluation mode, on a shadow; your model stays in "
    "the mode that it is in.",
    "Output 0 of BackwardHookFunctionBackward is a view and is being modified inplace": "A "
    "backward hook on a module meets a ReLU that works in place. limelight uses no such hook and "
    "keeps a copy on both sides: leave `inplace=True` as it is.",
    "one of the variables needed for gradient computation has been modified by an inplace "
    "operation": 'limelight says of its own gradient: "Something that the gradient needs was '
    'written on after it was used". Explain between the steps of an optimiser, or name a layer '
    "behind the place where the network writes on its values.",
    "Inference tensors cannot be saved for backward": "Images or weights were made under "
    "`torch.inference_mode`. limelight takes both.",
    "index 281 is out of bounds": "A class was asked for that the network does not have. limelight "
    'says how many it has: "The target class is 281; the model has 4 classes".',
    "'dict' object has no attribute 'softmax'": "The model returns more than logits, and so do "
    "those of transformers (`ImageClassifierOutput`). limelight finds the logits in a tuple, a "
    "dict or an object; `output=` says which part they are, if it cannot be known.",
    "axis 2 is out of bounds for array of dimension 2": "A transformer has tokens, not a grid of "
    "cells. limelight puts the tokens on their grid by itself; no `reshape_transform` is needed "
    "([layouts](guide.md#layouts)).",
    "Weights only load failed": "The file holds more than tensors: a pickled network, or the "
    "state of a training run. limelight reads state dicts alone, as loading anything else can run "
    "code. Save `model.state_dict()`, or load the file yourself and pass the network.",
    "Error(s) in loading state_dict": "The weights are those of another network, or of one with "
    "another number of classes. limelight lists what is missing, what is unexpected, and what has "
    "another shape. Prefixes such as `module.` are taken off.",
    "Input type (double) and bias type (float) should be the same": _PASSED_ON + "Pass "
    "`images.float()`, or on a GPU `images.to(device)`.",
    "Expected all tensors to be on the same device": _PASSED_ON + "Pass `images.to(device)`, the "
    "device of the model's parameters. A `limelight.Network` puts photos there by itself.",
    "Given groups=1, weight of size [64, 3, 7, 7], expected input[1, 1, 224, 224] to have 3 "
    "channels": _PASSED_ON + "The image is grey and the network takes colours. With a photo and a "
    "`limelight.Network` the channels fit by themselves.",
    "expected 4D input (got 3D input)": _PASSED_ON + "Add the batch axis: `image[None]`.",
}
