"""Models of Keras 3: recognised, loaded, and built again in tf_keras.

Keras 3 itself is imported only where such a model or file has come.
"""

from tfgraphprune.keras3.models import check_functional, is_keras3_model, load_keras3
from tfgraphprune.keras3.twins import copy_weights, twin

__all__ = ["check_functional", "copy_weights", "is_keras3_model", "load_keras3", "twin"]
