"""ResNet-50 and DenseNet-121 in PyTorch, and Torch-Pruning's times on them.

Run by `benchmarks.peers` in an environment of its own; prints one JSON line.
"""

from __future__ import annotations

import json
import sys
import time

import torch
import torch_pruning
from torch import nn


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


class Bottleneck(nn.Module):
    """He et al., CVPR 2016: 1x1, 3x3, 1x1 and a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        outputs = 4 * width
        self.body = nn.Sequential(
            _conv(inputs, width, 1), nn.BatchNorm2d(width), nn.ReLU(),
            _conv(width, width, 3, stride), nn.BatchNorm2d(width), nn.ReLU(),
            _conv(width, outputs, 1), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        changes = stride > 1 or inputs != outputs
        self.shortcut = (
            nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
            if changes
            else nn.Identity()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sum of both branches."""
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet50() -> nn.Module:
    """25.6 M parameters."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]  # fmt: skip
    inputs = 64
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(blocks):
            layers.append(Bottleneck(inputs, width, 2 if stage and not block else 1))
            inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


class DenseLayer(nn.Module):
    """Huang et al., CVPR 2017: BN-ReLU-1x1-BN-ReLU-3x3, concatenated to the input."""

    def __init__(self, inputs: int, growth: int = 32):
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.ReLU(), _conv(inputs, 4 * growth, 1),
            nn.BatchNorm2d(4 * growth), nn.ReLU(), _conv(4 * growth, growth, 3),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input with new channels behind it."""
        return torch.cat([x, self.body(x)], 1)


def densenet121() -> nn.Module:
    """8.0 M parameters."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]  # fmt: skip
    channels = 64
    for stage, repeats in enumerate((6, 12, 24, 16)):
        for _ in range(repeats):
            layers.append(DenseLayer(channels))
            channels += 32
        if stage < 3:
            half = channels // 2
            layers += [nn.BatchNorm2d(channels), nn.ReLU(), _conv(channels, half, 1)]
            layers.append(nn.AvgPool2d(2))
            channels = half
    layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(channels, 1000))


def measure(name: str) -> dict[str, float | str]:
    """CPU seconds for the graph, the pruner, and importance with the cut."""
    model = {"ResNet50": resnet50, "DenseNet121": densenet121}[name]().eval()
    x = torch.zeros(1, 3, 224, 224)
    started = time.process_time()
    torch_pruning.DependencyGraph().build_dependency(model, example_inputs=x)
    graph = time.process_time() - started
    started = time.process_time()
    pruner = torch_pruning.pruner.MetaPruner(
        model,
        x,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=[model[-1]],
    )
    made = time.process_time() - started
    started = time.process_time()
    pruner.step()
    cut = time.process_time() - started
    return {"model": name, "graph": graph, "pruner": made, "cut": cut}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(measure(sys.argv[1])))
