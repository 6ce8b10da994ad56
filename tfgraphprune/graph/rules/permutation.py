"""The rule of channel shuffles, which `shuffles` finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfgraphprune.graph.labels import Kept, Labels
from tfgraphprune.graph.reader import Call, output_shapes
from tfgraphprune.graph.rules.base import LayerRule, layer_rule
from tfgraphprune.graph.tracer import CallTracer


class ChannelShuffle:
    """Several ops that together permute the channels, looking like one layer.

    Args:
        steps: the calls, of ops or layers without weights; each reads the one before.
    """

    def __init__(self, steps: Sequence[Call]):
        self.steps = tuple(steps)
        self.name = steps[-1].layer.name
        self.symbol = "channel_shuffle"
        self.weights: list = []

    def __call__(self, x: Any) -> Any:
        """Run the steps."""
        for step in self.steps:
            args, kwargs = step.substitute({id(step.inputs[0]): x})
            x = step.layer(*args, **kwargs)
        return x

    def call(self, x: Any) -> Any:
        """Run the steps."""
        return self(x)

    def get_config(self) -> dict[str, Any]:
        """The steps with their settings."""
        return {"steps": [[_settings(step), step.named_arguments()] for step in self.steps]}

    def remade(self) -> ChannelShuffle:
        """The same with ops of its own."""
        copies = []
        for step in self.steps:
            layer = type(step.layer).from_config(step.layer.get_config())
            copies.append(Call(step.key, step.path, step.label, layer, step.args, step.kwargs,
                               step.outputs, step.dialect, step.shapes))  # fmt: skip
        return ChannelShuffle(copies)

    def get_weights(self) -> list:
        """Ops have none."""
        return []

    def set_weights(self, weights: list) -> None:
        """Ops have none."""


class Permutation(LayerRule):
    """A channel shuffle: of the channels that stay, a gather."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Run it on ids."""
        call, batch = tracer.call, tracer.call.inputs[0].shape[0] or 1
        outputs = tracer.run(call.layer, inputs, output_shapes(call), batch)
        return tracer.opaque(inputs, "can't be run on ids") if outputs is None else outputs

    def substitute(
        self, call: Call, config: dict, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> tuple[Any, list] | None:
        """The ops anew, or a gather of what stays."""
        axis = inputs[0].rank - 1
        stays = kept.along(inputs[0], axis)
        if stays.all():
            return call.layer.remade(), []
        positions = np.arange(len(stays), dtype=np.int64)
        run = call.layer.remade()
        whole = [size or 1 for size in (call.inputs[0].shape[0], *inputs[0].shape)]
        order = np.asarray(run(np.broadcast_to(positions, whole))).reshape(-1, len(stays))[0]
        left = (np.cumsum(stays) - 1)[order[stays[order]]].tolist()
        return lambda x: call.dialect.gather(x, left, axis + 1), []


def _settings(step: Call) -> dict[str, Any]:
    config = dict(step.layer.get_config())
    config.pop("name", None)
    return {"type": getattr(step.layer, "symbol", type(step.layer).__name__), **config}


layer_rule(["tf.channel_shuffle"], Permutation())
