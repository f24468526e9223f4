"""`python:MODULE:FUNCTION`: the network that a function of the user's own code returns.

This runs code, so one rule holds: **a `python:` network is opened only where the user typed its URI in this very
command, on this machine.** The code comes from the working directory and Python's path, never from a storage. A plan
stores the URI and the fingerprint of the weights alone; whoever resumes it types the URI again, and another fingerprint
is refused. Workers of a cluster get the file or package of the module from the driver, as they get our own code
(`cluster.runtime.code.code_for_workers`).
"""

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from search_spaces.errors import ConfigError, one_line
from search_spaces.models import ModelSpec
from trainables.models.given import Opened, Settings
from trainables.models.timm_models import settings_of


def open_python(spec: ModelSpec, *, is_typed: bool) -> Opened:
    """Calls the function without arguments and takes the module that it returns.

    What the module says of images and classes is read from its attributes: timm's `pretrained_cfg` (`input_size`,
    `mean`, `std`, `interpolation`, `crop_pct`), and `class_names` or `label_names`.

    Args:
        spec: Of kind `python`.
        is_typed: Whether the user typed this URI in this command on this machine.

    Raises:
        ConfigError: The URI was not typed here, there is no such function, or it returns something else.
    """
    if not is_typed:
        raise ConfigError(
            f"model {spec.uri} is code, which runs only for those who name it themselves: a storage asked for it. Give "
            f"{spec.uri} again on the command line, in the folder that has it."
        )
    function = _function(spec)
    try:
        module = function()
    except Exception as error:
        raise ConfigError(f"model {spec.uri} failed: {type(error).__name__}: {one_line(error)[:200]}.") from error
    if not isinstance(module, nn.Module):
        raise ConfigError(f"model {spec.uri} returned a {type(module).__name__}: return a torch.nn.Module.")
    if any(is_lazy(parameter) for parameter in module.parameters()):
        raise ConfigError(f"model {spec.uri} has layers without weights yet (Lazy...): run it once on images first.")
    config = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None)
    names = getattr(module, "class_names", None) or getattr(module, "label_names", None)
    settings = Settings(class_names=tuple(map(str, names)) if isinstance(names, list | tuple) else None)
    if isinstance(config, Mapping):
        settings = settings_of(config, class_names=names)
    return Opened(module=module, architecture=type(module).__name__, settings=settings)


def _function(spec: ModelSpec) -> Any:
    name, _, attribute = spec.name.partition(":")
    if os.getcwd() not in sys.path:
        # In front, as `python -m` has it: an installed command does not look into the working directory.
        sys.path.insert(0, os.getcwd())
    try:
        code = importlib.import_module(name)
    except Exception as error:
        raise ConfigError(
            f"model {spec.uri}: {name} cannot be imported ({type(error).__name__}: {one_line(error)[:200]}); it must "
            "lie in the working directory or on PYTHONPATH."
        ) from error
    function = getattr(code, attribute, None)
    if not callable(function):
        raise ConfigError(f"model {spec.uri}: {code.__file__} has no function {attribute}.")
    return function
