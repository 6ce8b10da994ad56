"""The networks of the papers, for small images, and importers of `.npz` weights."""

from tfgraphprune.models.by_name import network_by_name
from tfgraphprune.models.digits import digits_cnn
from tfgraphprune.models.mobilenet import mobilenet_v1, mobilenet_v2
from tfgraphprune.models.npz import load_npz_weights
from tfgraphprune.models.random_cnn import random_cnn
from tfgraphprune.models.resnet_cifar import resnet_cifar
from tfgraphprune.models.shufflenet import shufflenet_v1, shufflenet_v2
from tfgraphprune.models.vgg import vgg16_bn

__all__ = [
    "digits_cnn",
    "load_npz_weights",
    "mobilenet_v1",
    "mobilenet_v2",
    "network_by_name",
    "random_cnn",
    "resnet_cifar",
    "shufflenet_v1",
    "shufflenet_v2",
    "vgg16_bn",
]
