"""SHIP: a Keras model as a TFLite file, compared with the Keras model and timed on this machine."""

from tfgraphprune.tflite.convert import QUANTIZATIONS, ExportReport, export_tflite
from tfgraphprune.tflite.latency import Latency, host_latency, latency_ratio
from tfgraphprune.tflite.verify import Verification, verify_tflite

__all__ = [
    "QUANTIZATIONS",
    "ExportReport",
    "Latency",
    "Verification",
    "export_tflite",
    "host_latency",
    "latency_ratio",
    "verify_tflite",
]
