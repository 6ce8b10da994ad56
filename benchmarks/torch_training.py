"""How fast PyTorch trains ResNet-20, for benchmarks/training.py.

Run by it in an environment of its own; prints the seconds of each epoch as a JSON list.
"""

from __future__ import annotations

import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional

BATCH = 128


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut of option A (He et al., CVPR 2016)."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip
        self.stride, self.added = stride, (width - inputs) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sum of both branches."""
        short = x[:, :, :: self.stride, :: self.stride]
        short = functional.pad(short, (0, 0, 0, 0, self.added, self.added))
        return torch.relu(self.body(x) + short)


def resnet20() -> nn.Module:
    """40.6 M MACs for an image of 32 x 32."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
    ]  # fmt: skip
    inputs = 16
    for width in (16, 32, 64):
        for block in range(3):
            layers.append(Block(inputs, width, 2 if width > 16 and not block else 1))
            inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def epochs(half: bool, images: int, rounds: int) -> list[float]:
    """Seconds of each epoch after the first, on random images that are in memory."""
    torch.manual_seed(0)
    model = resnet20().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    x = torch.rand(images, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    y = torch.arange(images) % 10
    times = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        for start in range(0, images, BATCH):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                outputs = model(x[start : start + BATCH])
            functional.cross_entropy(outputs.float(), y[start : start + BATCH]).backward()
            optimizer.step()
        times.append(time.perf_counter() - started)
    return times[1:]


if __name__ == "__main__":
    print(json.dumps(epochs(sys.argv[1] == "bfloat16", int(sys.argv[2]), int(sys.argv[3]))))
