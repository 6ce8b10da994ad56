"""What a layer rule is, and the registry that finds the rule of a layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from tfgraphprune.errors import UserError
from tfgraphprune.graph.kinds import computes_otherwise, is_of_keras
from tfgraphprune.graph.labels import Kept, Labels, Shape
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

    takes_constants = False
    """Whether it follows arguments that are arrays; other calls with arrays freeze."""

    @property
    def has_settings(self) -> bool:
        """Whether `config` depends on the channels, so that all calls must be cut alike."""
        return type(self).config is not LayerRule.config

    def arguments(
        self, call: Call, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> tuple[tuple, dict]:
        """The call's arguments, with symbolic tensors of the dense model as leaves."""
        return call.args, call.kwargs

    def substitute(
        self, call: Call, config: dict, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> tuple[Any, list] | None:
        """What takes the layer's place where it can't be made anew as it is.

        Args:
            call: the call.
            config: the configuration with the smaller numbers of channels.
            inputs: labels of the call's tensors.
            outputs: labels of its results.
            kept: what stays.

        Returns:
            A layer or model, and its variables in the order of `call.layer.weights`; or `None`.
        """
        return None

    def finish(
        self, call: Call, results: Any, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> Any:
        """What is done to the results of the layer's call in the smaller model."""
        return results


class Unknown(LayerRule):
    """A layer that nothing is known of: all it touches is frozen."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Freeze inputs and outputs."""
        kind = getattr(tracer.call.layer, "symbol", None) or type(tracer.call.layer).__name__
        return tracer.opaque(inputs, f"no rule for {kind}")


_RULES: dict[str, LayerRule] = {}
_CLASS_RULES: dict[type, LayerRule] = {}
_UNKNOWN = Unknown()


def layer_rule(names: Iterable[str], rule: LayerRule) -> None:
    """Make `rule` the rule of the Keras layer classes, or TensorFlow ops, with these names."""
    _RULES.update(dict.fromkeys(names, rule))


def register_layer_rule(layer_class: type) -> Callable[[type[LayerRule]], type[LayerRule]]:
    """Class decorator: the decorated `LayerRule` becomes the rule of a layer class.

    A subclass of the layer needs a rule of its own. A later registration replaces an earlier one.

    Example, of a layer with one factor for each channel:

        @tgp.register_layer_rule(Scale)
        class ScaleRule(tgp.LayerRule):
            def trace(self, tracer, inputs):
                ids = tracer.channels(inputs[0])
                tracer.weight(tracer.call.layer.factor, {0: ("through", ids)})
                return inputs

    Args:
        layer_class: a subclass of `keras.layers.Layer`.

    Raises:
        UserError: something else than a layer class, or than a subclass of `LayerRule`.
    """
    if not isinstance(layer_class, type) or not hasattr(layer_class, "call"):
        raise UserError(
            f"register_layer_rule takes a Keras layer class, not {layer_class!r}: write "
            "@register_layer_rule(MyLayer) above the rule."
        )

    def register(rule: type[LayerRule]) -> type[LayerRule]:
        if not isinstance(rule, type) or not issubclass(rule, LayerRule):
            raise UserError(
                f"the rule of {layer_class.__name__} must be a subclass of LayerRule, not {rule!r}."
            )
        _CLASS_RULES[layer_class] = rule()
        return rule

    return register


def is_op(layer: Any) -> bool:
    """Whether a layer is only an op on tensors."""
    return type(layer).__name__ in ("TFOpLambda", "SlicingOpLambda", "KerasOp", "ChannelShuffle")


def is_known(layer: Any) -> bool:
    """Whether there is a rule for a layer."""
    return not isinstance(rule_for(layer), Unknown)


def rule_for(layer: Any) -> LayerRule:
    """The rule of a layer; one that freezes, where there is none.

    A layer goes by its class, first by what users registered, then by name: Keras' own plainly,
    those of other packages after the package's name. A subclass is taken for its base only if it
    can't but compute the same, that is if all it overrides is how it is made and saved. An op on
    tensors goes by its symbol.
    """
    if is_op(layer):
        return _RULES.get("tf." + layer.symbol.removeprefix("compat.v1."), _UNKNOWN)
    if type(layer) in _CLASS_RULES:
        return _CLASS_RULES[type(layer)]
    for kind in type(layer).__mro__:
        if is_of_keras(kind):
            return _RULES.get(kind.__name__, _UNKNOWN)
        package = kind.__module__.split(".")[0]
        if (rule := _RULES.get(f"{package}.{kind.__name__}")) is not None:
            return rule
        if computes_otherwise(kind):
            return _UNKNOWN
    return _UNKNOWN


def channel_axis(layer: Any) -> int:
    """Where the channels of a layer's tensors are, without the batch: first or last."""
    return 0 if getattr(layer, "data_format", None) == "channels_first" else -1


def positions_of(call: Call, axis: int = -1) -> int | None:
    """How many positions the call's first output has beside `axis`; `None` where unknown."""
    return size_without(output_shapes(call)[0], axis)


def size_without(shape: Shape, axis: int) -> int | None:
    """How many positions a tensor has beside `axis`; `None` where unknown."""
    return product(size for a, size in enumerate(shape) if a != axis % len(shape))


def product(sizes: Iterable[int | None]) -> int | None:
    """The product of sizes; `None` where one is unknown."""
    known = list(sizes)
    return None if None in known else math.prod(known)  # type: ignore[arg-type]


CHANNELWISE_ACTIVATIONS = frozenset(
    "linear relu relu6 sigmoid hard_sigmoid tanh swish silu gelu elu selu softplus softsign "
    "exponential mish leaky_relu hard_swish hard_silu hard_tanh log_sigmoid celu tanh_shrink "
    "soft_shrink hard_shrink squareplus threshold sparse_plus sparse_sigmoid".split()
)

_ACTIVATION_LAYERS = frozenset(["ReLU", "LeakyReLU", "ELU", "HardSigmoidActivation"])
"""Layers that are given as an activation; the last one is KerasCV's."""


def acts_per_channel(activation: Any) -> bool:
    """Whether an activation maps each value by itself, as far as its Keras or TF name tells."""
    if activation is None:
        return True
    module = getattr(activation, "__module__", "") or ""  # of a layer, its class's
    known = module.split(".")[0] in ("tf_keras", "keras", "tensorflow", "keras_cv")
    name = getattr(activation, "__name__", "") or type(activation).__name__
    return known and name in CHANNELWISE_ACTIVATIONS | _ACTIVATION_LAYERS
