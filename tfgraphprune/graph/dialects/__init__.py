"""What tf_keras and Keras 3 do differently: how models are stored, opened and put together."""

from __future__ import annotations

from typing import Any

from tfgraphprune.errors import UserError
from tfgraphprune.graph.dialects.base import Dialect
from tfgraphprune.graph.dialects.legacy import LegacyKeras
from tfgraphprune.keras3 import is_keras3_model

__all__ = ["Dialect", "dialect_of"]


def dialect_of(model: Any) -> Dialect:
    """The dialect of a model; Keras 3 is only imported where such a model has come.

    Raises:
        UserError: something else than a Keras model.
    """
    if is_keras3_model(model):
        from tfgraphprune.graph.dialects.keras3 import Keras3

        return Keras3()
    legacy = LegacyKeras()
    if not legacy.is_model(model):
        raise UserError(
            "the model must be one of tf_keras or Keras 3, "
            f"not {type(model).__module__}.{type(model).__name__}: load or build it with either."
        )
    return legacy
