"""tfmot's 8-bit schemes, which note every layer that they have no quantization for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from unittest import mock

import tensorflow_model_optimization as tfmot
import tf_keras as keras
from tensorflow_model_optimization.python.core.quantization.keras import (
    quantize_aware_activation,
    quantize_layout_transform,
    quantize_registry,
    quantize_scheme,
)
from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.cluster_preserve import (  # noqa: E501
    default_8bit_cluster_preserve_quantize_scheme as cluster_preserve,
)
from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.prune_preserve import (  # noqa: E501
    default_8bit_prune_preserve_quantize_scheme as prune_preserve,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_configs,
    default_8bit_quantize_registry,
    default_8bit_quantize_scheme,
)
from tensorflow_model_optimization.python.core.quantization.keras.graph_transformations import (
    model_transformer,
)

from tfgraphprune.errors import first_line

_NoOp = default_8bit_quantize_configs.NoOpQuantizeConfig

_BASES = {
    None: default_8bit_quantize_scheme.Default8BitQuantizeScheme,
    "sparsity": prune_preserve.Default8BitPrunePreserveQuantizeScheme,
    "clusters": lambda: cluster_preserve.Default8BitClusterPreserveQuantizeScheme(False),
    "both": lambda: cluster_preserve.Default8BitClusterPreserveQuantizeScheme(True),
}


def scope() -> Any:
    """Where tfmot's classes can be loaded by their names."""
    return tfmot.quantization.keras.quantize_scope()


class Scheme(quantize_scheme.QuantizeScheme, quantize_registry.QuantizeRegistry):
    """A scheme of tfmot's that refuses no layer, but notes those that tfmot would refuse.

    It also mends three of its ways: a convolution or Dense layer before a ReLU would keep float
    weights, one before a concatenation would lose the zeros or clusters that it is to keep, and a
    concatenation would take its inputs in another order.

    Args:
        preserve: `None`, `sparsity`, `clusters` or `both`.
        outside: names of layers that are not to be quantized.

    Attributes:
        refused: reasons by layer name.
    """

    def __init__(self, preserve: str | None, outside: Collection[str]):
        self._base = _BASES[preserve]
        self._outside = outside
        self._default = default_8bit_quantize_registry.Default8BitQuantizeRegistry()
        self.refused: dict[str, str] = {}

    def get_layout_transformer(self) -> Any:
        """tfmot's changes of layout, with the mends."""
        return _Layout(self)

    def get_quantize_registry(self) -> Any:
        """The scheme is its own registry."""
        return self

    def supports(self, layer: Any) -> bool:
        """For a layer that is to be quantized always, so that nothing is raised."""
        return layer.name not in self._outside or self._reason(layer) is None

    def get_quantize_config(self, layer: Any) -> Any:
        """tfmot's configuration for the layer; one that does nothing where there is none."""
        reason = self._reason(layer)
        if reason is None:
            return self._config(layer)
        self.refused[layer.name] = reason
        return _NoOp()

    def transform(self, model: Any, metadata: dict) -> tuple[Any, dict]:
        """tfmot's changes of layout, with the mends."""
        layout = self._base().get_layout_transformer()
        with mock.patch.object(model_transformer, "ModelTransformer", _InOrder):
            model, metadata = layout.apply(model, metadata)
        for layer in model.layers:
            entry = metadata.get(layer.name, {})
            config = entry.get("quantize_config")
            if config is None or not self._has_weights(layer):
                continue
            if isinstance(config, _NoOp):
                if layer.activation is keras.activations.linear:
                    layer.activation = quantize_aware_activation.NoOpActivation()
                entry["quantize_config"] = None
            elif hasattr(config, "weight_quantizer"):
                config.weight_quantizer = self._config(layer).weight_quantizer
        return model, metadata

    def _config(self, layer: Any) -> Any:
        # A registry a layer: tfmot's for clusters forgets zeros from its first layer without any.
        return self._base().get_quantize_registry().get_quantize_config(layer)

    def _has_weights(self, layer: Any) -> bool:
        if not self._default.supports(layer):
            return False
        config = self._default.get_quantize_config(layer)
        return bool(getattr(config, "weight_attrs", None))

    def _reason(self, layer: Any) -> str | None:
        """Why tfmot can't quantize a layer, found by asking for all that it would need."""
        kind = type(layer).__name__
        if kind in ("BatchNormalization", "SyncBatchNormalization"):
            return f"the {kind} does not follow a linear convolution or Dense that it alone reads"
        if not self._default.supports(layer):
            return f"tfmot has no quantization for a {kind}"
        try:
            config = self._config(layer)
            config.get_output_quantizers(layer)
            for activation, quantizer in config.get_activations_and_quantizers(layer):
                quantize_aware_activation.QuantizeAwareActivation(
                    activation, quantizer, None, keras.layers.Layer()
                )
        except (ValueError, RuntimeError) as error:
            activation = getattr(layer, "activation", None)
            what = f" with {activation.__name__}" if hasattr(activation, "__name__") else ""
            return f"tfmot can't quantize a {kind}{what}: {first_line(error)}"
        return None


class _InOrder(model_transformer.ModelTransformer):
    """tfmot's walk over a model, with the inputs of a layer in the layer's own order."""

    def _get_layers(self, layer_names: Sequence[str]) -> list[dict]:
        found = {layer["config"]["name"]: layer for layer in self._config["layers"]}
        return [found[name] for name in dict.fromkeys(layer_names) if name in found]


class _Layout(quantize_layout_transform.QuantizeLayoutTransform):
    def __init__(self, scheme: Scheme):
        self._scheme = scheme

    def apply(self, model: Any, layer_quantize_map: dict) -> tuple[Any, dict]:
        """What tfmot calls."""
        return self._scheme.transform(model, layer_quantize_map)
