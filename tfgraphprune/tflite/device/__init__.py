"""TFLite files on an Android phone, through `adb` and TFLite's or LiteRT's benchmark tool."""

from tfgraphprune.tflite.device.adb import Device
from tfgraphprune.tflite.device.benchmark import BACKENDS, RunSettings
from tfgraphprune.tflite.device.check import check_on_device, device_latency
from tfgraphprune.tflite.device.report import DeviceReport, FileReport

__all__ = [
    "BACKENDS",
    "Device",
    "DeviceReport",
    "FileReport",
    "RunSettings",
    "check_on_device",
    "device_latency",
]
