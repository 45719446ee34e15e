"""Does it work on signals, such as an ECG?

    python examples/heartbeat.py

The network learns in seconds whether one beat of a drawn heart comes early and is wide. Signals are
`[B, C, L]`; everything else is as for photos, and the heat is drawn behind the curve.
"""

import torch
from drawn import train
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import limelight


def draw(count: int) -> tuple[Tensor, Tensor]:
    """Return signals `[B, 1, 512]` of seven beats, and in which of them a beat is wide, `[B]`."""
    time, wide = torch.arange(512.0), torch.randint(2, (count,))
    beat = torch.arange(7).expand(count, 7)
    odd = (beat == torch.randint(1, 6, (count, 1))) & (wide[:, None] == 1)
    at = 40 + 72 * beat + 4 * torch.randn(count, 7) - 16 * odd  # it comes early
    away = time - at[:, :, None]
    usual = (-(away**2) / 8).exp() + 0.2 * (-((away - 22) ** 2) / 60).exp()
    strange = 0.9 * (-(away**2) / 60).exp() - 0.4 * (-((away - 20) ** 2) / 90).exp()
    curve = torch.where(odd[:, :, None], strange, usual).sum(1)
    return (curve + 0.03 * torch.randn(count, 512))[:, None], wide


def loss_of() -> Tensor:
    """Return the cross entropy on new signals."""
    signals, wide = draw(32)
    return cross_entropy(model(signals), wide)


torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv1d(1, 12, 8, 2, 3), nn.ReLU(), nn.Conv1d(12, 24, 8, 2, 3), nn.ReLU(),
    nn.Conv1d(24, 32, 8, 2, 3), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(32, 2),
)  # fmt: skip
train(model, loss_of, steps=80, rate=5e-3)

signals, wide = draw(200)
right = (model(signals).argmax(1) == wide).float().mean()
print(f"{right:.0%} of 200 new signals are right.")
one = signals[wide == 1][:1]
result = limelight.explain(model, one, target="wide beat", classes=["regular", "wide beat"])
style = limelight.FigureStyle(width="200mm", dpi=110)
print("The picture is", result.save("heartbeat.jpg", style=style).resolve())
