"""The package and what it needs: ranges, so that it fits into an environment that is in use.

`constraints.txt` pins one set of versions that was tested together; `make` uses it.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

INSTALL = [
    "absl-py>=1.4",
    "ai-edge-litert>=2.0,<3",
    "flatbuffers>=24.3",
    "h5py>=3.11",
    "matplotlib>=3.8",
    "ml_collections>=1.0",
    "numpy>=1.26,<3",
    "scikit-learn>=1.3",
    "scipy>=1.11",
    "spektral>=1.3.1,<1.4",
    "tensorboard>=2.20,<3",
    # tf-keras asks for the TensorFlow of its own minor version.
    "tensorflow>=2.21,<2.22",
    "tensorflow-model-optimization>=0.8,<0.9",
    "tf-keras>=2.21,<2.22",
    "tqdm>=4.60",
]

EXTRAS = {
    # Pins typing-extensions and pygame exactly, and through them Python 3.11 or older.
    "search": ["cmaes>=0.11,<1", "tf-agents>=0.19,<0.20"],
    "cv": ["keras-cv>=0.9,<0.10"],
    # tensorflow-datasets needs importlib_resources, which it does not declare.
    "datasets": ["tensorflow-datasets>=4.9.4,<5", "importlib_resources>=5"],
}
# Pins ai-edge-litert to one version, so that it stays out of "all".
INT4 = ["litert-quantizer>=0.11,<0.12"]
EXTRAS["all"] = sorted({package for extra in EXTRAS.values() for package in extra})
EXTRAS["int4"] = INT4
EXTRAS["test"] = [
    *INT4,
    "hypothesis>=6.100",
    "import-linter>=2.0",
    # The newest that runs with the typing-extensions of tf-agents.
    "mypy>=1.10,<1.11",
    "pytest>=8",
    "pytest-xdist>=3.5",
    "ruff>=0.6",
    "setuptools>=68,<81",
    "wheel>=0.40",
]


def version() -> str:
    """`__version__`, read without importing the package."""
    text = (HERE / "tfgraphprune" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)[1]


setup(
    name="tfgraphprune",
    version=version(),
    description="Structured pruning of Keras models by a graph neural network policy, down to "
    "a checked TFLite file",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10,<3.12",
    # The configs live at the top of the repository and are installed inside the package.
    packages=[*find_packages(include=["tfgraphprune", "tfgraphprune.*"]), "tfgraphprune.configs"],
    package_dir={"tfgraphprune.configs": "configs"},
    package_data={"tfgraphprune": ["py.typed", "search/pretrained/policy.*"]},
    install_requires=INSTALL,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["tfgraphprune=tfgraphprune.cli.main:run"]},
    classifiers=[
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
