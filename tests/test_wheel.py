"""The wheel, from which machines of a cluster install the program, holds all that the program reads."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("search_spaces", "trainables", "cluster", "orchestrator")
BUILT_FROM = (*PACKAGES, "pyproject.toml", "README.md", "LICENSE")


def test_the_wheel_holds_every_module_and_every_file_of_data(tmp_path: Path) -> None:
    for name in BUILT_FROM:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    # setuptools itself, as pip calls it: pip would fetch another one first.
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('dist'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").iterdir()
    held = set(zipfile.ZipFile(wheel).namelist())
    files = (path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file())
    needed = {str(path.relative_to(ROOT)) for path in files if path.suffix in (".py", ".j2", ".yaml")}
    assert {"cluster/files/prices.yaml", "orchestrator/costs/step_times.yaml"} <= needed
    assert needed - held == set()
