"""`explain_again`: a map made again from its manifest."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limelight.digests import tensor_digest, weights_digest
from limelight.errors import InputError
from limelight.explanation import Explanation
from limelight.manifests import PARTS
from limelight.methods.views import views_from_plain
from limelight.models.network import Images, Model, Network
from limelight.models.sources import load_model
from limelight.photos.preprocess import Preprocess
from limelight.pipeline import explain
from limelight.runtime.unwrap import unwrap
from limelight.targets.plain_targets import target_from_plain


def explain_again(
    manifest: Mapping[str, Any],
    model: Model | None = None,
    inputs: Images | None = None,
    **arguments: Any,
) -> Explanation:
    """Explain what a manifest describes once more.

        manifest = json.loads(Path("cat.json").read_text())
        limelight.explain_again(manifest).save("cat.png")

    The network and the photos that the manifest names are loaded; a network of one's own, as in
    "package.module:factory", runs code. Of a manifest that you do not trust, pass both.

    A warning says if the weights or the pictures are others than those of the manifest.

    Args:
        manifest: What `Explanation.manifest` returned, also after a way through JSON.
        model: The network; None to load it by its name.
        inputs: The images; None to read the photos of the manifest.
        arguments: Arguments of `explain`, in place of those in the manifest. Those that the
            manifest could not keep, such as a callable as the target, have to be here.

    Raises:
        InputError: The manifest does not say how to get the network, the images or an argument.
        UnknownNameError, LimelightError: As `load_model` and `explain`.
    """
    missing = [name for name in manifest["not_kept"] if name not in arguments]
    if PARTS in missing:
        raise InputError(
            "The map was fused from maps by several methods, or of several targets. Make each of "
            "them again from a manifest of its own, and fuse them: limelight.fuse([...])."
        )
    if missing:
        raise InputError(
            f"The manifest does not hold {', '.join(missing)}, which cannot be written as text. "
            f"Pass it to explain_again: {missing[0]}=..."
        )
    network = _network(manifest, model)
    _warn_of_other_weights(manifest, network)
    again = explain(
        network, _photos(manifest) if inputs is None else inputs, **_arguments(manifest) | arguments
    )
    _warn_of_other_pictures(manifest, again)
    return again


def _network(manifest: Mapping[str, Any], model: Model | None) -> Model:
    """Return the network: the one given, with the preprocessing of the manifest, or by its name."""
    facts = manifest["network"] or {}
    preprocess, classes = _preprocess(facts.get("preprocess")), facts.get("classes")
    if isinstance(model, nn.Module) and preprocess is not None:
        return Network(facts["name"], model, preprocess, classes)
    if model is not None:
        return model
    if not facts.get("name"):
        raise InputError(
            f"The manifest is of a model without a name, a {facts.get('class', 'module')}. Pass "
            "the model: explain_again(manifest, model, images)."
        )
    weights, dtype = facts["weights"], getattr(torch, manifest["input"]["dtype"])
    source = "none" if weights == "random" else weights if Path(weights).is_file() else "default"
    return load_model(
        facts["name"],
        weights=source,
        classes=classes,
        preprocess=preprocess,
        dtype=dtype if dtype.is_floating_point else torch.float32,
    )


def _preprocess(values: Mapping[str, Any] | None) -> Preprocess | None:
    """Return the preprocessing that plain values describe."""
    if values is None:
        return None
    read: dict[str, Any] = {
        key: tuple(each) if isinstance(each, list) else each for key, each in values.items()
    }
    return Preprocess(**read)


def _photos(manifest: Mapping[str, Any]) -> list[str]:
    """Return the files of the photos.

    Raises:
        InputError: The images were no photos.
    """
    photos = [each["photo"] for each in manifest["images"]]
    if not all(photo and photo["file"] for photo in photos):
        raise InputError(
            "The manifest names no photo files: its images were tensors, arrays or volumes, or "
            "photos that were changed after they had been read. Pass them: "
            "explain_again(manifest, model, images)."
        )
    return [photo["file"] for photo in photos]


def _arguments(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `explain` that a manifest holds."""
    arguments = dict(manifest["arguments"])
    arguments["target"] = target_from_plain(arguments.get("target"))
    if "views" in arguments:
        arguments["views"] = views_from_plain(arguments["views"])
    return arguments


def _warn_of_other_weights(manifest: Mapping[str, Any], model: Model) -> None:
    """Warn if the weights are others than those of the manifest, as far as it knows them."""
    digest = (manifest["network"] or {}).get("weights_digest")
    if digest is None:
        return
    module = model.model if isinstance(model, Network) else model
    if weights_digest(unwrap(module)) != digest:
        warnings.warn(
            "The weights of the network are others than those of the manifest, so the map may "
            "differ.",
            stacklevel=3,
        )


def _warn_of_other_pictures(manifest: Mapping[str, Any], again: Explanation) -> None:
    """Warn if the network was given other numbers than those of the manifest."""
    digests = [each["input_digest"] for each in manifest["images"]]
    if digests != [tensor_digest(image) for image in again.image]:
        warnings.warn(
            "What the network was given differs from that of the manifest: the photo is another, "
            "or it was decoded or resized otherwise.",
            stacklevel=3,
        )
