"""Small KerasCV models, from their constructors, and the share of their channels that is free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from keras_cv import models

SIDE = 64
CLASSES = 3

_IMAGE = {"include_rescaling": True, "input_shape": (SIDE, SIDE, 3)}
_STACKS = {"stackwise_blocks": [1] * 4, "stackwise_strides": [1, 2, 2, 2]}
_EFFICIENT = {
    "stackwise_kernel_sizes": [3, 3, 5],
    "stackwise_num_repeats": [1, 2, 1],
    "stackwise_input_filters": [32, 8, 16],
    "stackwise_output_filters": [8, 16, 16],
    "stackwise_expansion_ratios": [1, 4, 4],
    "stackwise_strides": [1, 2, 2],
    "width_coefficient": 1.0,
    "depth_coefficient": 1.0,
}


def resnet(**settings) -> Any:
    """A residual network with bottlenecks."""
    filters = [8, 8, 12, 16]
    return models.ResNetBackbone(stackwise_filters=filters, **_STACKS, **_IMAGE, **settings)


def yolo(use_depthwise: bool | None = None) -> Any:
    """YOLOV8's backbone or, if told whether to use depthwise convolutions, CSPDarkNet."""
    stacks = {"stackwise_channels": [8, 16, 24, 32], "stackwise_depth": [1] * 4}
    if use_depthwise is None:
        return models.YOLOV8Backbone(**stacks, **_IMAGE)
    return models.CSPDarkNetBackbone(use_depthwise=use_depthwise, **stacks, **_IMAGE)


def mix_transformer() -> Any:
    """SegFormer's; its numbers of heads are fixed to 1, 2, 5 and 8."""
    return models.MiTBackbone(depths=[1] * 4, embedding_dims=[8, 16, 20, 32], **_IMAGE)


def vit(use_rel_pos: bool) -> Any:
    """One block with windows that need padding, and one without."""
    return models.ViTDetBackbone(
        patch_size=8, embed_dim=24, depth=2, mlp_dim=40, num_heads=4, out_chans=16,
        window_size=3, global_attention_indices=[1], use_rel_pos=use_rel_pos, **_IMAGE,
    )  # fmt: skip


def mobilenet() -> Any:
    """With and without squeeze-and-excite and hard swish."""
    return models.MobileNetV3Backbone(
        stackwise_expansion=[1, 4, 3], stackwise_filters=[8, 16, 16],
        stackwise_kernel_size=[3, 3, 5], stackwise_stride=[2, 2, 1],
        stackwise_se_ratio=[0.25, None, 0.25],
        stackwise_activation=["relu", "relu", "hard_swish"], **_IMAGE,
    )  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """A model that tests are run on.

    Attributes:
        build: makes it.
        free: the share of the kernels' output channels that may be cut, those of the model's
            outputs left out.
    """

    build: Callable[[], Any]
    free: float = 1.0


BACKBONES = {
    "ResNet V1, bottlenecks": Sample(partial(resnet, block_type="block")),
    "ResNet V1, basic": Sample(
        lambda: models.ResNetBackbone(
            stackwise_filters=[64, 8, 12, 16], block_type="basic_block", **_STACKS, **_IMAGE
        )
    ),
    "ResNet V2": Sample(
        lambda: models.ResNetV2Backbone(
            stackwise_filters=[8, 8, 12, 16],
            stackwise_blocks=[2] * 4,
            stackwise_strides=[1, 2, 2, 2],
            **_IMAGE,
        )
    ),
    "DenseNet": Sample(
        lambda: models.DenseNetBackbone(stackwise_num_repeats=[2, 2, 2, 1], growth_rate=8, **_IMAGE)
    ),
    "CSPDarkNet": Sample(partial(yolo, use_depthwise=True)),
    "YOLOV8": Sample(yolo),
    "MobileNetV3": Sample(mobilenet),
    "EfficientNet V1": Sample(
        lambda: models.EfficientNetV1Backbone(
            stackwise_squeeze_and_excite_ratios=[0.25] * 3, **_EFFICIENT, **_IMAGE
        )
    ),
    "EfficientNet V2": Sample(
        lambda: models.EfficientNetV2Backbone(
            stackwise_squeeze_and_excite_ratios=[0.0, 0.0, 0.25],
            stackwise_conv_types=["fused", "fused", "unfused"],
            **_EFFICIENT,
            **_IMAGE,
        )
    ),
    "EfficientNet Lite": Sample(lambda: models.EfficientNetLiteBackbone(**_EFFICIENT, **_IMAGE)),
    "MiT": Sample(mix_transformer, 0.75),
    "ViTDet": Sample(partial(vit, use_rel_pos=False), 0.65),
    "ViTDet, relative positions": Sample(partial(vit, use_rel_pos=True), 0.65),
}


def retinanet() -> Any:
    """A RetinaNet."""
    return models.RetinaNet(resnet(block_type="block"), CLASSES, "xywh")


def yolo_detector() -> Any:
    """A YOLOV8Detector."""
    return models.YOLOV8Detector(yolo(), CLASSES, "xywh", fpn_depth=1)


def boxes() -> dict:
    """One box in each of two images."""
    return {
        "boxes": np.array([[[8, 8, 40, 40]], [[20, 12, 30, 44]]], "float32"),
        "classes": np.array([[1], [2]], "float32"),
    }


@dataclass(frozen=True)
class Task(Sample):
    """A task.

    Attributes:
        losses: what it is compiled with.
        labels: of two images.
        lost: names of the attributes that the pruned task lacks: layers that were opened.
    """

    losses: Any = None
    labels: Any = None
    lost: tuple[str, ...] = ()


TASKS = {
    "RetinaNet": Task(
        retinanet,
        losses={"classification_loss": "focal", "box_loss": "smoothl1"},
        labels=boxes(),
        lost=("feature_pyramid", "classification_head", "box_head"),
    ),
    "YOLOV8Detector": Task(
        yolo_detector,
        losses={"classification_loss": "binary_crossentropy", "box_loss": "ciou"},
        labels=boxes(),
    ),
    "DeepLabV3Plus": Task(
        lambda: models.DeepLabV3Plus(resnet(block_type="block"), CLASSES),
        losses={"loss": "sparse_categorical_crossentropy"},
        labels=np.arange(2 * SIDE * SIDE).reshape(2, SIDE, SIDE, 1) % CLASSES,
        lost=("spatial_pyramid_pooling",),
    ),
    "ImageClassifier": Task(
        lambda: models.ImageClassifier(resnet(block_type="block"), CLASSES),
        losses={"loss": "sparse_categorical_crossentropy"},
        labels=np.arange(2),
    ),
}
