"""Which extra of collabplan brings which package, and the one line for a package that is not installed."""

from __future__ import annotations

from .errors import CollabplanError

EXTRAS = {
    "boto3": ("boto3", "s3"),
    "google": ("protobuf", "device"),
    "grpc": ("grpcio", "device"),
    "grpc_health": ("grpcio-health-checking", "server"),
    "onnx": ("onnx", "onnx"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "onnxscript": ("onnxscript", "onnx"),
    "optuna": ("optuna", "plan"),
    "PIL": ("pillow", "plan"),
    "prometheus_client": ("prometheus-client", "server"),
    "psycopg": ("psycopg", "postgresql"),
    "pynvml": ("nvidia-ml-py", "cuda"),
    "scipy": ("scipy", "plan"),
    "sklearn": ("scikit-learn", "plan"),
    "sqlalchemy": ("SQLAlchemy", "plan"),
    "torchmetrics": ("torchmetrics", "plan"),
}
"""By imported module: the package that provides it, and the extra that installs it."""


def missing_package(error: ModuleNotFoundError) -> CollabplanError | None:
    """The error to raise when an import fails because an extra is not installed.

    Returns:
        An error that names the package and its extra; None if no extra brings the module.

    Example:
        >>> str(missing_package(ModuleNotFoundError(name="optuna.trial")))
        "this needs optuna, which is not installed; run: pip install 'collabplan[plan]'"
    """
    known = EXTRAS.get((error.name or "").partition(".")[0])
    if known is None:
        return None
    package, extra = known
    return CollabplanError(f"this needs {package}, which is not installed; run: pip install 'collabplan[{extra}]'")
