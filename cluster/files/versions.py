"""The one source of versions: what is installed here, since machines of one Ray cluster must run the same."""

import sys
from dataclasses import dataclass
from importlib.metadata import version


@dataclass(frozen=True, slots=True)
class Versions:
    """Versions that every machine of a cluster has in common with this one."""

    python: str
    """Minor version, such as `3.11`: Ray refuses machines with another one."""
    ray: str
    mlflow: str
    package: str
    """Of dptq-sweep."""

    @property
    def ray_requirement(self) -> str:
        """What pip installs: `default` brings the dashboard and its jobs, `tune` the scheduler of trials."""
        return f"ray[default,tune]=={self.ray}"

    @property
    def ray_image(self) -> str:
        """Ray's own image with this Ray and this Python; torch brings its CUDA along, so the small one will do."""
        return f"rayproject/ray:{self.ray}-py{self.python.replace('.', '')}"

    @property
    def wheel(self) -> str:
        """File name of this package's wheel."""
        return f"dptq_sweep-{self.package}-py3-none-any.whl"


def installed_versions() -> Versions:
    """Returns what is installed here; a test compares it with constraints.txt."""
    return Versions(
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        ray=version("ray"),
        mlflow=version("mlflow"),
        package=version("dptq-sweep"),
    )
