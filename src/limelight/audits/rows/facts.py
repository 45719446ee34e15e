"""What a run is of: its network, its maps, its versions; written beside its rows, as run.json."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from zlib import crc32

import torch
from torch import nn

from limelight.audits.rows.columns import FORMAT, MapForm
from limelight.audits.rows.looking import LookPlan
from limelight.audits.rows.shards import Folder
from limelight.errors import OptionError, OutputError
from limelight.models.network import Network
from limelight.photos.preprocess import Preprocess
from limelight.plain import as_json
from limelight.version import __version__

#: The file of the facts, in the folder of the run.
FACTS = "run.json"


@dataclass(frozen=True)
class RunFacts:
    """What a run is of.

    Attributes:
        plan: How its maps are made.
        preprocess: How photos become the network's input.
        classes: The names of the network's classes; None when they are not known.
        question: All that decides what a row holds, as plain values. A run goes on only if it is
            asked the same.
        versions: The versions of what made the rows.
        began: When the run began, as text.
    """

    plan: LookPlan
    preprocess: Preprocess
    classes: tuple[str, ...] | None
    question: Mapping[str, Any]
    versions: Mapping[str, str] = field(default_factory=dict)
    began: str = ""

    @classmethod
    def of(cls, network: Network, plan: LookPlan, question: Mapping[str, Any]) -> RunFacts:
        """Return the facts of a run that begins now."""
        versions = {
            "limelight": __version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        }
        began = time.strftime("%Y-%m-%d %H:%M:%S %z")
        return cls(plan, network.preprocess, network.classes, question, versions, began)

    def summary(self) -> dict[str, Any]:
        """Return what a report says of the run, as plain values."""
        plan = self.plan
        return {
            **{name: self.question[name] for name in ("model", "weights")},
            "method": plan.method or "the default",
            "layer": plan.layer or "chosen",
            "features_layer": plan.features_layer,
            "explained": plan.explained,
            "grid": list(plan.form.grid),
            "versions": dict(self.versions),
            "began": self.began,
        }

    def as_text(self) -> str:
        """Return the facts as JSON."""
        facts = {
            "format": FORMAT,
            "plan": {**asdict(self.plan), "form": self.plan.form._asdict()},
            "preprocess": asdict(self.preprocess),
            "classes": self.classes,
            "question": self.question,
            "versions": self.versions,
            "began": self.began,
        }
        return as_json(facts, indent=1)

    def refuse_other(self, question: Mapping[str, Any]) -> None:
        """Refuse to go on with another question.

        Raises:
            OutputError: It is another.
        """
        before, now = dict(self.question), json.loads(as_json(question))
        differing = [name for name in now if before.get(name) != now[name]]
        if differing:
            changes = "; ".join(
                f"{name} was {_short(before.get(name))} and is {_short(now[name])}"
                for name in differing
            )
            raise OutputError(
                f"The folder holds an audit with other settings: {changes}. Pass another folder, "
                "or delete this one."
            )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:60]} ..."


def read_facts(folder: Folder) -> RunFacts | None:
    """Return the facts of the run in a folder; None where there is none yet.

    Raises:
        OptionError: They cannot be read.
    """
    if FACTS not in folder.names(FACTS):
        return None
    try:
        facts = json.loads(folder.read(FACTS))
        plan = dict(facts["plan"])
        form = MapForm(tuple(plan.pop("form")["grid"]), facts["plan"]["form"]["features"])
        preprocess = {name: _tuples(value) for name, value in facts["preprocess"].items()}
        classes = facts["classes"]
        return RunFacts(
            LookPlan(form=form, **plan),
            Preprocess(**preprocess),
            None if classes is None else tuple(classes),
            facts["question"],
            facts["versions"],
            facts["began"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OptionError(
            f"{FACTS} in the folder is not what an audit wrote ({type(error).__name__}: {error}). "
            "Pass another folder."
        ) from error


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def make_question(
    network: Network, plan_options: Mapping[str, Any], truth: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all that decides what a row holds, as plain values.

    Args:
        network: The network. Its weights count, not only their name.
        plan_options: The arguments of `LookPlan.make`.
        truth: What is marked on the photos; and the labels, where their maps are asked for.
    """
    return {
        "model": network.name,
        "weights": network.weights,
        "parameters": state_checksum(network.model),
        "preprocess": asdict(network.preprocess),
        **plan_options,
        **truth,
    }


def state_checksum(model: nn.Module) -> str:
    """Return a checksum of all parameters and buffers of a network."""
    check = 0
    for name, value in model.state_dict().items():
        check = crc32(name.encode(), check)
        if isinstance(value, torch.Tensor) and value.layout is torch.strided:
            flat = value.detach().cpu().contiguous().reshape(-1)
            check = crc32(flat.view(torch.uint8).numpy().tobytes(), check)
    return f"{check:08x}"
