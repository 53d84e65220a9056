"""Which extra of collabplan brings which package, and the one line for a package that is not installed."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator

from .errors import CollabplanError

EXTRAS = {
    "IPython": ("ipython", "notebook"),
    "boto3": ("boto3", "s3"),
    "cryptography": ("cryptography", "device"),
    "google": ("protobuf", "device"),
    "grpc": ("grpcio", "device"),
    "grpc_health": ("grpcio-health-checking", "server"),
    "jinja2": ("jinja2", "plan"),
    "markupsafe": ("markupsafe", "plan"),
    "matplotlib": ("matplotlib", "plan"),
    "mlflow": ("mlflow", "mlflow"),
    "onnx": ("onnx", "onnx"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "onnxscript": ("onnxscript", "onnx"),
    "optuna": ("optuna", "plan"),
    "PIL": ("pillow", "plan"),
    "pandas": ("pandas", "notebook"),
    "prometheus_client": ("prometheus-client", "server"),
    "psycopg": ("psycopg", "postgresql"),
    "pyarrow": ("pyarrow", "parquet"),
    "pynvml": ("nvidia-ml-py", "cuda"),
    "scipy": ("scipy", "plan"),
    "sklearn": ("scikit-learn", "plan"),
    "sqlalchemy": ("SQLAlchemy", "plan"),
    "tensorboard": ("tensorboard", "tensorboard"),
    "torchmetrics": ("torchmetrics", "plan"),
}
"""By imported module: the package that provides it, and the extra that installs it."""


def missing_package(error: ModuleNotFoundError) -> CollabplanError | None:
    """The error to raise when an import fails because an extra is not installed.

    Returns:
        An error that names the package and its extra; None if no extra brings the module.

    Examples:
        >>> str(missing_package(ModuleNotFoundError(name="optuna.trial")))
        "this needs optuna, which is not installed; run: pip install 'collabplan[plan]'"
    """
    known = EXTRAS.get((error.name or "").partition(".")[0])
    if known is None:
        return None
    package, extra = known
    return CollabplanError(f"this needs {package}, which is not installed; run: pip install 'collabplan[{extra}]'")


@contextlib.contextmanager
def optional_imports() -> Iterator[None]:
    """Within: importing a package that is not installed raises the error that names its extra.

    Raises:
        CollabplanError: an import within failed because an extra is not installed.

    Examples:
        >>> with optional_imports():
        ...     import torch
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (missing := missing_package(error)) is None:
            raise
        raise missing from error


def require_modules(*names: str) -> None:
    """Refuse to go on if a module is not installed, without importing it.

    Raises:
        CollabplanError: names the first module's package and its extra.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            with optional_imports():
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
