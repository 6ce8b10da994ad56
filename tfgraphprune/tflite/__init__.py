"""SHIP: a Keras model as a TFLite file, compared with the Keras model and timed on this machine."""

from tfgraphprune.tflite.convert import ExportReport, export_tflite
from tfgraphprune.tflite.latency import (
    Latency,
    host_latency,
    host_latency_by_threads,
    latency_ratio,
)
from tfgraphprune.tflite.layers import LayerComparison, LayerError, compare_layers
from tfgraphprune.tflite.metadata import tflite_metadata
from tfgraphprune.tflite.profiling import KernelTime, Profile, profile_operations
from tfgraphprune.tflite.quantizations import CALIBRATED, QUANTIZATIONS
from tfgraphprune.tflite.verify import OutputError, Verification, verify_tflite

__all__ = [
    "CALIBRATED",
    "QUANTIZATIONS",
    "ExportReport",
    "KernelTime",
    "Latency",
    "LayerComparison",
    "LayerError",
    "OutputError",
    "Profile",
    "Verification",
    "compare_layers",
    "export_tflite",
    "host_latency",
    "host_latency_by_threads",
    "latency_ratio",
    "profile_operations",
    "tflite_metadata",
    "verify_tflite",
]
