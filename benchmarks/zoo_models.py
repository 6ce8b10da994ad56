"""The models of the zoo, by name: what builds each at its smallest legal input."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import tf_keras as keras

import tfgraphprune.models

SIZES = (32, 64, 75, 96, 128, 224)


def applications() -> dict[str, Callable[[], Any]]:
    """All classifiers of `tf_keras.applications`."""
    names = [name for name in dir(keras.applications) if name[0].isupper()]
    return {f"applications/{name}": partial(_application, name) for name in names}


def papers() -> dict[str, Callable[[], Any]]:
    """The networks of `tfgraphprune.models`."""
    models = tfgraphprune.models
    made: dict[str, Callable[[], Any]] = {
        f"models/resnet{depth}_{shortcut}": partial(models.resnet_cifar, depth, shortcut)
        for depth in (20, 32, 44, 56, 110)
        for shortcut in "AB"
    }
    for name in ("vgg16_bn", "mobilenet_v1", "mobilenet_v2", "shufflenet_v1", "shufflenet_v2"):
        made[f"models/{name}"] = getattr(models, name)
    return made


def keras_cv() -> dict[str, Callable[[], Any]]:
    """KerasCV's backbones from their constructors, and its tasks."""
    from keras_cv import models as cv

    own = {"include_rescaling": True, "input_shape": (64, 64, 3)}
    wide = {"include_rescaling": True, "input_shape": (128, 128, 3)}
    residual = {
        "stackwise_filters": [64, 128, 256, 512],
        "stackwise_blocks": [2, 2, 2, 2],
        "stackwise_strides": [1, 2, 2, 2],
    }
    dark = {"stackwise_channels": [48, 96, 192, 384], "stackwise_depth": [1, 3, 3, 1]}
    yolo = {"stackwise_channels": [32, 64, 128, 256], "stackwise_depth": [1, 2, 2, 1]}
    mobile = {
        "stackwise_expansion": [1, 72.0 / 16, 88.0 / 24, 4, 6, 6, 3, 3, 6, 6, 6],
        "stackwise_filters": [16, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96],
        "stackwise_kernel_size": [3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 5],
        "stackwise_stride": [2, 2, 1, 2, 1, 1, 1, 1, 2, 1, 1],
        "stackwise_se_ratio": [0.25, None, None] + [0.25] * 8,
        "stackwise_activation": ["relu"] * 3 + ["hard_swish"] * 8,
    }
    efficient = {
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
        "stackwise_kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
        "stackwise_num_repeats": [1, 2, 2, 3, 3, 4, 1],
        "stackwise_input_filters": [32, 16, 24, 40, 80, 112, 192],
        "stackwise_output_filters": [16, 24, 40, 80, 112, 192, 320],
        "stackwise_expansion_ratios": [1, 6, 6, 6, 6, 6, 6],
        "stackwise_strides": [1, 2, 2, 2, 1, 2, 1],
    }
    v2 = {
        "stackwise_kernel_sizes": [3] * 6,
        "stackwise_num_repeats": [1, 2, 2, 3, 5, 8],
        "stackwise_input_filters": [32, 16, 32, 48, 96, 112],
        "stackwise_output_filters": [16, 32, 48, 96, 112, 192],
        "stackwise_expansion_ratios": [1, 4, 4, 4, 6, 6],
        "stackwise_squeeze_and_excite_ratios": [0, 0, 0, 0.25, 0.25, 0.25],
        "stackwise_strides": [1, 2, 2, 2, 1, 2],
        "stackwise_conv_types": ["fused"] * 3 + ["unfused"] * 3,
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
    }
    squeeze = {"stackwise_squeeze_and_excite_ratios": [0.25] * 7}

    def small(**settings: Any) -> Any:
        return cv.ResNetBackbone(**residual, block_type="basic_block", **settings)

    vit: dict[str, Any] = {
        "patch_size": 8,
        "embed_dim": 96,
        "depth": 3,
        "mlp_dim": 192,
        "num_heads": 4,
    }
    vit |= {"out_chans": 64, "window_size": 4, "global_attention_indices": [2]}
    mit = {"depths": [2, 2, 2, 2], "embedding_dims": [32, 64, 160, 256]}
    made: dict[str, Callable[[], Any]] = {
        "ResNetBackbone": lambda: small(**own),
        "ResNetV2Backbone": lambda: cv.ResNetV2Backbone(**residual, **own),
        "VGG16Backbone": lambda: cv.VGG16Backbone(include_top=False, **own),
        "DenseNetBackbone": lambda: cv.DenseNetBackbone(
            stackwise_num_repeats=[6, 12, 24, 16], **own
        ),
        "CSPDarkNetBackbone": lambda: cv.CSPDarkNetBackbone(**dark, use_depthwise=True, **own),
        "MobileNetV3Backbone": lambda: cv.MobileNetV3Backbone(**mobile, **own),
        "EfficientNetV1Backbone": lambda: cv.EfficientNetV1Backbone(**efficient, **squeeze, **own),
        "EfficientNetLiteBackbone": lambda: cv.EfficientNetLiteBackbone(**efficient, **own),
        "EfficientNetV2Backbone": lambda: cv.EfficientNetV2Backbone(**v2, **own),
        "YOLOV8Backbone": lambda: cv.YOLOV8Backbone(**yolo, **own),
        "MiTBackbone": lambda: cv.MiTBackbone(**mit, **own),
        "ViTDetBackbone": lambda: cv.ViTDetBackbone(**vit, **own),
        "RetinaNet": lambda: cv.RetinaNet(
            backbone=small(**wide), num_classes=20, bounding_box_format="xywh"
        ),
        "YOLOV8Detector": lambda: cv.YOLOV8Detector(
            backbone=cv.YOLOV8Backbone(**yolo, **wide),
            num_classes=20,
            bounding_box_format="xywh",
            fpn_depth=1,
        ),
        "DeepLabV3Plus": lambda: cv.DeepLabV3Plus(backbone=small(**wide), num_classes=5),
    }
    return {f"keras_cv/{name}": build for name, build in made.items()}


def zoo() -> dict[str, Callable[[], Any]]:
    """All of them."""
    return {**applications(), **papers(), **keras_cv()}


def _application(name: str) -> Any:
    for size in SIZES:
        try:
            # Logits: random weights make a softmax so sure that it hides errors.
            return getattr(keras.applications, name)(
                weights=None, input_shape=(size, size, 3), classifier_activation=None
            )
        except ValueError:
            keras.backend.clear_session()
    raise ValueError(f"{name} takes none of the sizes {SIZES}")
