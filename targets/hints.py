"""What to do about an error that a target file raised, if the error itself does not say."""

from __future__ import annotations

import pickle
import sys
import traceback
from pathlib import Path

import torch

_CUDA = ("Torch not compiled with CUDA", "No CUDA GPUs", "Found no NVIDIA driver", "object on a CUDA device")


def hint(error: BaseException, file: Path | None) -> str:
    """The advice, as `; what to do`, or nothing."""
    advice = _advice(error, str(error), file)
    return f"; {advice}" if advice else ""


def _advice(error: BaseException, text: str, file: Path | None) -> str:
    if isinstance(error, SystemExit):
        return _about_exit(error)
    if isinstance(error, SyntaxError):
        unreadable = "null bytes" in text or "utf-8" in text.lower() or "encoding" in text
        return "save the file as UTF-8 text" if unreadable else ""
    if "torchvision" in text and not isinstance(error, ModuleNotFoundError):
        return (
            f"the installed torchvision does not fit torch {torch.__version__}: install the two together "
            "(pip install --upgrade torch torchvision), or remove it from the target file"
        )
    if isinstance(error, ImportError) and "relative import" in text and file is not None:
        return _about_package(file)
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "it").partition(".")[0]
        return (
            f"if {package} is a file of yours, put it beside the target file or on PYTHONPATH; if it is a library, "
            f"install it for the Python that runs collabplan, {sys.executable}, by the name that its own page gives"
        )
    if isinstance(error, ImportError) and "undefined symbol" in text:
        return f"it was compiled for another torch than {torch.__version__}: install it again"
    if isinstance(error, FileNotFoundError) and error.filename and file is not None:
        return _about_path(Path(str(error.filename)), file)
    if any(words in text for words in _CUDA):
        return "build and load it on the CPU (map_location='cpu'); `--device cuda` moves it where it is to be measured"
    return _about_checkpoint(error, text)


def _about_exit(error: SystemExit) -> str:
    if any(Path(frame.filename).name == "argparse.py" for frame in traceback.extract_tb(error.__traceback__)):
        return (
            "it parses a command line, which is empty here: give every argument a default, or parse under "
            "if __name__ == '__main__'"
        )
    return "a target file must not exit: put what does under if __name__ == '__main__'"


def _about_package(file: Path) -> str:
    """A file within a package must be loaded by its module's name."""
    root = file.parent
    while (root.parent / "__init__.py").is_file():
        root = root.parent
    name = ".".join(file.relative_to(root.parent).with_suffix("").parts)
    here = "" if root.parent == Path.cwd() else f" in {root.parent}"
    return f"the file is part of a package: give it by its module's name{here}: collabplan profile {name}"


def _about_path(path: Path, file: Path) -> str:
    if path.is_absolute():
        return ""
    beside = file.parent / path
    if beside.exists():
        return (
            f"it lies beside the target file: write Path(__file__).parent / {str(path)!r}, which holds in every folder"
        )
    return f"it was looked for in {Path.cwd()}"


def _about_checkpoint(error: BaseException, text: str) -> str:
    """Advice for files that `torch.load` cannot read."""
    frames = traceback.extract_tb(error.__traceback__)
    if not any(Path(frame.filename).parts[-2:] == ("torch", "serialization.py") for frame in frames):
        return ""
    if isinstance(error, pickle.UnpicklingError) and "Unsupported global" in text:
        return "save the state_dict alone; or, where you trust the file, load it with weights_only=False"
    return "torch.load finds no checkpoint in that file: is it whole, and no web page or Git LFS pointer?"
