"""Libraries that only some users have: imported when they are needed, with an error that says how to get them."""

from __future__ import annotations

import importlib
from types import ModuleType

EXTRA = {"torch": "torch", "safetensors": "safetensors", "onnx": "onnx"}
"""The extra of ParaLift that installs a library."""


def load(module: str, what: str) -> ModuleType:
    """Import and return `module`.

    Raises
    ------
    ImportError
        Naming `what` needs it, and the extra that installs it.
    """
    library = module.split(".", 1)[0]
    try:
        importlib.import_module(library)  # also where a part of it has been imported before
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.split(".", 1)[0] != library:
            raise
        extra = EXTRA[library]
        message = f"{what} needs {library}, which is not installed: pip install paralift[{extra}]"
        raise ImportError(message, name=library) from None


class UnsupportedError(ValueError):
    """A module, a function or a block that the other side has no counterpart of."""
