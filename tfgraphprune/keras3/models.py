"""What a Keras 3 model is, and how one is loaded."""

from __future__ import annotations

import os
import sys
from typing import Any

from tfgraphprune.errors import UserError, first_line


def is_keras3_model(model: Any) -> bool:
    """Whether this is a model of Keras 3; does not import it."""
    keras = sys.modules.get("keras")
    kind = getattr(keras, "Model", None)
    if kind is None or str(getattr(keras, "__version__", "3")).startswith("2"):
        return False
    return isinstance(model, kind)


def load_keras3(path: str | os.PathLike, allow_lambda: bool = False) -> Any:
    """Load a model file that Keras 3 has written.

    Args:
        path: a `.keras` or `.h5` file.
        allow_lambda: load models with Lambda layers, whose Python code then runs.

    Raises:
        UserError: Keras 3 is not installed, or can't load the file.
    """
    try:
        import keras
    except ImportError as error:
        raise UserError(
            f"{path} was saved by Keras 3, which is not installed: run pip install keras."
        ) from error
    try:
        return keras.models.load_model(path, compile=False, safe_mode=not allow_lambda)
    except Exception as error:
        raise UserError(
            f"Keras {keras.__version__} can't load {path} ({first_line(error)}): register custom "
            "layers with keras.saving.register_keras_serializable."
        ) from error


def check_functional(model: Any) -> None:
    """Refuse a Keras 3 model that has no graph of layer calls.

    Raises:
        UserError: a subclassed model, or a Sequential without input shape.
    """
    import keras
    from keras.src.models.functional import Functional

    if isinstance(model, keras.Sequential) and not model.built:
        raise UserError(
            f"the Sequential model {model.name!r} has no input shape yet: "
            "call model.build(input_shape) or start it with an Input."
        )
    if type(model).call not in (Functional.call, keras.Sequential.call):
        raise UserError(
            f"the model {model.name!r} is a subclassed keras.Model or overrides its call method, "
            "and so has no layer graph: express it with the functional API."
        )
