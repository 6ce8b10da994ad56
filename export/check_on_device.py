"""TFLite files on an Android phone; installed, it is called `tfgraphprune check_on_device`.

python export/check_on_device.py --tflite=model.tflite --benchmark=benchmark_model
"""

from tfgraphprune.cli.check_on_device import PROGRAM, main
from tfgraphprune.cli.common import run_program

if __name__ == "__main__":
    run_program(PROGRAM, main)
