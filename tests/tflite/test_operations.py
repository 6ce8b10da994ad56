"""Which operations a file has, and which of them XNNPACK leaves."""

from collections import Counter

import tf_keras as keras

import tfgraphprune as tgp


def test_operations_are_counted_and_all_taken(files):
    expected = Counter(CONV_2D=4, DEPTHWISE_CONV_2D=1, ADD=1, MEAN=1, FULLY_CONNECTED=1)
    assert files["float32"].ops == expected
    assert files["int8"].ops == expected + Counter(QUANTIZE=1, DEQUANTIZE=1)
    assert files["float32"].outside_xnnpack == files["int8"].outside_xnnpack == Counter()


def test_what_xnnpack_leaves_is_named(files, tmp_path):
    assert files["int16x8"].outside_xnnpack == files["int16x8"].ops
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3)(image)
    x = keras.layers.Lambda(lambda t: keras.backend.cumsum(t, axis=1))(x)
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3)(x))
    model = keras.Model(image, keras.layers.Dense(2)(x))
    report = tgp.export_tflite(model, tmp_path / "m.tflite")
    assert report.ops["CONV_2D"] == 2 and report.outside_xnnpack == Counter(CUMSUM=1)
