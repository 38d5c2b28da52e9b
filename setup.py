"""How the package is built: `pip install .`, with the YAML files of properties/ inside it."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def version() -> str:
    """The version that the package says it has, read without importing it."""
    text = (ROOT / "recbole_fmrlrec" / "version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise ValueError('recbole_fmrlrec/version.py has no line __version__ = "..."')
    return found.group(1)


def long_description() -> str:
    """The README, where there is one."""
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.is_file() else ""


# RecBole 1.2.1 pins ray < 2.6.4, which has no wheel for Python 3.12 and later: pip cannot resolve
# it there, and `pip install --no-deps recbole==1.2.1` is the way. What RecBole needs besides ray is
# therefore listed here in full; nothing of ours and nothing that we use of RecBole needs ray.
REQUIRES = [
    'recbole==1.2.1; python_version < "3.12"',
    "torch>=2.4",
    "numpy>=1.26",
    "pandas>=2.0",
    "duckdb>=1.4",
    "scipy>=1.11",
    "scikit-learn>=1.3",
    "pyyaml>=6.0",
    "tqdm>=4.64",
    "safetensors>=0.4",
    "psutil>=5.9",
    "joblib>=1.4",
    "tabulate>=0.9",
    "texttable>=1.6",
    "colorlog>=4.7.2",
    "colorama>=0.4.4",
    "thop>=0.1.1.post2207130030",
    "tensorboard>=2.12",
    "plotly>=5.0",
    "jinja2>=3.1",
]
EXTRAS = {
    "test": [
        *("pytest>=7.4", "pytest-xdist>=3.6", "hypothesis>=6.80", "ruff>=0.6", "mypy>=1.8"),
        *("httpx>=0.27", "schemathesis>=4.0"),
        'import-linter>=2.17; python_version >= "3.11"',
    ],
    "docs": [
        'mkdocs-material>=9.8; python_version >= "3.11"',
        'mkdocstrings[python]>=1.0; python_version >= "3.11"',
    ],
    "encoders": ["sentence-transformers>=5.4", "transformers>=4.41", "pillow>=10.0"],
    "page": ["playwright>=1.44"],
    "parquet": ["pyarrow>=14"],
    "plots": ["matplotlib>=3.7"],
    "onnx": ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.3"],
    "tune": ["optuna>=4.9", "matplotlib>=3.7"],
    "grpc": ["grpcio>=1.60", "protobuf>=5.28"],
    "slurm": ["submitit>=1.5.3"],
    "faiss": ["faiss-cpu>=1.8"],
    "serve": ["fastapi>=0.115", "uvicorn>=0.30", "prometheus-client>=0.20", "redis>=5.0"],
}

CLASSIFIERS = [
    "Development Status :: 4 - Beta",
    "Environment :: Console",
    "Intended Audience :: Science/Research",
    "Intended Audience :: Developers",
    "Operating System :: POSIX :: Linux",
    *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
    "Topic :: Scientific/Engineering :: Artificial Intelligence",
    "Typing :: Typed",
]
KEYWORDS = [
    *("recommender-system", "sequential-recommendation", "multimodal", "recbole"),
    *("matryoshka-representation-learning", "fmrlrec"),
]

setup(
    name="recbole-fmrlrec",
    version=version(),
    description="fMRLRec, trained once and deployed at any nested size, as a RecBole plug-in",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    keywords=KEYWORDS,
    classifiers=CLASSIFIERS,
    project_urls={
        "Paper": "https://arxiv.org/abs/2409.16627",
        "RecBole": "https://github.com/RUCAIBox/RecBole",
    },
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.10,<3.14",
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    packages=[
        *find_packages(include=["recbole_fmrlrec", "recbole_fmrlrec.*"]),
        *find_packages(include=["dataset_tools", "dataset_tools.*"]),
        "recbole_fmrlrec.properties",
    ],
    package_dir={"recbole_fmrlrec.properties": "properties"},
    package_data={
        "recbole_fmrlrec.properties": ["*.yaml", "*/*.yaml"],
        "recbole_fmrlrec": ["py.typed"],
        "recbole_fmrlrec.serve": ["page.html"],
        "dataset_tools": ["py.typed"],
        "dataset_tools.page": ["page.css", "page.html.j2"],
    },
    entry_points={
        "console_scripts": [
            "run-recbole-fmrlrec = recbole_fmrlrec.cli.main:main",
            "dataset-tools = dataset_tools.__main__:main",
        ]
    },
)
