"""Our code for the workers of a cluster that was not installed with it.

The packages go along as they lie on the driver's machine, zipped by Ray: no wheel is built and nothing is installed, so
it works without a network, from a checkout as well as from an installed wheel. (Of a wheel, Ray would also install the
dependencies, over the network, on every machine.) Ray names every zip by the hash of its content, so "does the cluster
have this version?" is answered by the content itself: what is there already is not sent again, what changed always is,
and what a machine's image has under the same name loses against it.

A network of the user's own code (`python:MODULE:FUNCTION`) goes the same way: its file, or its package as a whole.

The libraries (Ray, torch, timm, ...) must be in the image.
"""

import importlib.util
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

DISTRIBUTION = "dptq-sweep"
PACKAGES = ("search_spaces", "trainables", "cluster", "orchestrator")
NOT_CODE = ["__pycache__", "*.pyc", "*.nbi", "*.nbc", "direct_url.json"]
"""Differs between equal installations, and would make every upload a new one."""


def code_for_workers(modules: Iterable[str] = ()) -> dict[str, Any]:
    """Returns the part of a Ray `runtime_env` that holds the running code and its version.

    Args:
        modules: Modules of the user's that go along, by their full names; each as its file, or with its whole package.
    """
    own = {name.partition(".")[0] for name in modules}
    paths = (*_places(PACKAGES), *_metadata(), *_places(sorted(own)))
    return {"py_modules": [str(path) for path in paths], "excludes": NOT_CODE}


def _places(names: Iterable[str]) -> list[Path]:
    specs = [importlib.util.find_spec(name) for name in names]
    found = [(Path(spec.origin), spec.submodule_search_locations) for spec in specs if spec and spec.origin]
    return [path.parent if is_package else path for path, is_package in found]


def _metadata() -> list[Path]:
    """Returns the folder by which a worker's env.json knows the version; none in a checkout that is not installed."""
    try:
        found = distribution(DISTRIBUTION)
    except PackageNotFoundError:
        return []
    folder = Path(str(found.locate_file(f"{DISTRIBUTION.replace('-', '_')}-{found.version}.dist-info")))
    return [folder] if folder.is_dir() else []
