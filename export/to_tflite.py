"""Keras model to checked TFLite file; installed, the program is called `tfgraphprune export`.

python export/to_tflite.py --model=model.keras --output=model.tflite --quantization=float16
"""

from tfgraphprune.cli.common import run_program
from tfgraphprune.cli.export import PROGRAM, main

if __name__ == "__main__":
    run_program(PROGRAM, main)
