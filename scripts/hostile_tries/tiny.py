"""A network of three layers: what is tried here is what surrounds the network."""

from __future__ import annotations

import torch
from torch import nn

import limelight

#: How the command line names it.
MODEL = ("--model", "hostile_tries.tiny:build")


def network() -> nn.Sequential:
    """A small classifier with fixed weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 4),
        ).eval()


def build() -> limelight.Network:
    """The same with what belongs to it."""
    return limelight.Network(
        name="tiny",
        model=network(),
        preprocess=limelight.Preprocess(size=(32, 32), resize=36),
        classes=("ant", "bee", "cat", "dog"),
    )
