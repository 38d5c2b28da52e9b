"""Packages that are not installed, and the one command that installs them."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

NAME = "recbole-fmrlrec"
# Module -> the extra of setup.py that brings it.
EXTRAS = {
    **dict.fromkeys(("transformers", "sentence_transformers", "PIL"), "encoders"),
    **dict.fromkeys(("tokenizers", "huggingface_hub"), "encoders"),
    **dict.fromkeys(("sentencepiece", "google"), "encoders"),
    "matplotlib": "plots",
    "pyarrow": "parquet",
    **dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), "onnx"),
    "optuna": "tune",
    "grpc": "grpc",
    "submitit": "slurm",
    "faiss": "faiss",
    **dict.fromkeys(("fastapi", "uvicorn", "prometheus_client", "redis"), "serve"),
}
# Where the module's name is not the name to install it by.
PIP_NAMES = {
    "sklearn": "scikit-learn",
    "PIL": "pillow",
    "yaml": "pyyaml",
    "sentence_transformers": "sentence-transformers",
    "huggingface_hub": "huggingface-hub",
    "google": "protobuf",
    "faiss": "faiss-cpu",
    "grpc": "grpcio",
    "prometheus_client": "prometheus-client",
    "torch_scatter": "torch-scatter",
}


def missing_package(error: ModuleNotFoundError) -> str:
    """What to say about a package that is not installed."""
    module = (error.name or "").partition(".")[0]
    name = PIP_NAMES.get(module, module)
    extra = EXTRAS.get(module)
    command = f"pip install {name}" if extra is None else f'pip install "{pip_name()}[{extra}]"'
    return f"the package `{name}` is not installed: {command}"


def is_ours(error: ModuleNotFoundError) -> bool:
    """Whether what is missing is a part of this package: its installation is broken."""
    return not error.name or error.name.partition(".")[0] in ("dataset_tools", "recbole_fmrlrec")


def pip_name() -> str:
    """What pip calls this package: by its name once installed, by its folder in a clone."""
    try:
        metadata.distribution(NAME)
    except metadata.PackageNotFoundError:
        return str(Path(__file__).resolve().parents[1])
    return NAME
