"""What a layer rule is, and the registry that finds the rule of a layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from tfgraphprune.graph.labels import Kept, Labels
from tfgraphprune.graph.reader import Call, output_shapes
from tfgraphprune.graph.tracer import CallTracer


class LayerRule:
    """How one kind of layer treats channels. The defaults suit a layer without channel settings.

    `trace` reads: which ids the layer's weights and outputs carry. `config` and `arguments`
    write: what changes in the layer's configuration, or in the call's arguments, when only some
    ids are kept. Weights need no code: they are cut along the axes that `trace` registered.
    """

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Register the call's weights and return the labels of its outputs.

        Args:
            tracer: makes ids, couples and freezes them, registers weights.
            inputs: labels of the call's tensors, in the order of `tracer.call.inputs`.
        """
        raise NotImplementedError

    def config(self, call: Call, outputs: list[Labels], kept: Kept) -> dict[str, Any]:
        """The entries of `layer.get_config()` that change."""
        return {}

    @property
    def has_settings(self) -> bool:
        """Whether `config` depends on the channels, so that all calls must be cut alike."""
        return type(self).config is not LayerRule.config

    def arguments(
        self, call: Call, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> tuple[tuple, dict]:
        """The call's arguments, with symbolic tensors of the dense model as leaves."""
        return call.args, call.kwargs


class Unknown(LayerRule):
    """A layer that nothing is known of: all it touches is frozen."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Freeze inputs and outputs."""
        kind = getattr(tracer.call.layer, "symbol", None) or type(tracer.call.layer).__name__
        return tracer.opaque(inputs, f"no rule for {kind}")


_HARMLESS = {"__init__", "get_config", "from_config", *vars(type("Empty", (), {}))}
"""What a subclass may define without computing anything else."""

_RULES: dict[str, LayerRule] = {}
_UNKNOWN = Unknown()


def layer_rule(names: Iterable[str], rule: LayerRule) -> None:
    """Make `rule` the rule of the Keras layer classes, or TensorFlow ops, with these names."""
    _RULES.update(dict.fromkeys(names, rule))


def rule_for(layer: Any) -> LayerRule:
    """The rule of a layer; one that freezes, where there is none.

    A Keras layer goes by its class. A subclass is taken for its base only if it can't but compute
    the same, that is if all it overrides is how it is made and saved. An op on tensors goes by
    its symbol.
    """
    symbol = getattr(layer, "symbol", None)
    if symbol is not None and type(layer).__name__ in ("TFOpLambda", "SlicingOpLambda"):
        return _RULES.get("tf." + symbol.removeprefix("compat.v1."), _UNKNOWN)
    for kind in type(layer).__mro__:
        if kind.__module__.split(".")[0] in ("tf_keras", "keras"):
            return _RULES.get(kind.__name__, _UNKNOWN)
        own = (getattr(kind, name) for name in vars(kind).keys() - _HARMLESS)
        if any(callable(value) or isinstance(value, property) for value in own):
            return _UNKNOWN
    return _UNKNOWN


def positions_of(call: Call) -> int | None:
    """How many spatial positions the call's first output has; `None` where unknown."""
    shape = output_shapes(call)[0][:-1]
    return None if None in shape else int(tf.TensorShape(shape).num_elements() or 1)


CHANNELWISE_ACTIVATIONS = frozenset(
    "linear relu relu6 sigmoid hard_sigmoid tanh swish silu gelu elu selu softplus softsign "
    "exponential mish leaky_relu hard_swish".split()
)


def acts_per_channel(activation: Any) -> bool:
    """Whether an activation maps each value by itself, as far as its Keras or TF name tells."""
    if activation is None:
        return True
    module = getattr(activation, "__module__", "") or ""
    known = module.split(".")[0] in ("tf_keras", "keras", "tensorflow")
    return known and getattr(activation, "__name__", "") in CHANNELWISE_ACTIVATIONS
