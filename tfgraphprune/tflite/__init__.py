"""SHIP: a Keras model as a TFLite file, compared with the Keras model and timed on this machine."""

from tfgraphprune.tflite.convert import ExportReport, export_tflite
from tfgraphprune.tflite.latency import Latency, host_latency, latency_ratio
from tfgraphprune.tflite.layers import LayerComparison, LayerError, compare_layers
from tfgraphprune.tflite.metadata import tflite_metadata
from tfgraphprune.tflite.quantizations import CALIBRATED, QUANTIZATIONS
from tfgraphprune.tflite.verify import OutputError, Verification, verify_tflite

__all__ = [
    "CALIBRATED",
    "QUANTIZATIONS",
    "ExportReport",
    "Latency",
    "LayerComparison",
    "LayerError",
    "OutputError",
    "Verification",
    "compare_layers",
    "export_tflite",
    "host_latency",
    "latency_ratio",
    "tflite_metadata",
    "verify_tflite",
]
