"""The name of the network that is taken when none is named, without what it takes to load it."""

from __future__ import annotations

DEFAULT = "efficientnet-lite0"
