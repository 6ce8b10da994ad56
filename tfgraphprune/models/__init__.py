"""The networks of the papers, for small images, and importers of `.npz` weights."""

from tfgraphprune.models.digits import digits_cnn
from tfgraphprune.models.npz import load_npz_weights
from tfgraphprune.models.resnet_cifar import resnet_cifar

__all__ = ["digits_cnn", "load_npz_weights", "resnet_cifar"]
