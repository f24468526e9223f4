"""Rendered cluster files, and how to spoil them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.files.render import ClusterOptions, render
from cluster.validation.files import check_file

Findings = Callable[[Any], list[str]]


@pytest.fixture
def options() -> ClusterOptions:
    return ClusterOptions(bucket="s3://my-bucket/dptq", project="my-project")


@pytest.fixture
def rendered(options: ClusterOptions) -> Callable[[str], Any]:
    """Parses the first document of a rendered file."""
    return lambda kind: next(iter(yaml.safe_load_all(render(kind, options))))


@pytest.fixture
def findings(tmp_path: Path) -> Findings:
    """Checks a text, or a document written as YAML, and returns the lines that `validate` prints."""

    def check(content: Any) -> list[str]:
        path = tmp_path / "cluster-file"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return [str(finding) for finding in check_file(path).findings]

    return check


@pytest.fixture
def change() -> Callable[[Any, str, Any], None]:
    """Sets what stands at a place such as `spec/groups/0/name`; `...` removes it."""

    def apply(document: Any, place: str, value: Any) -> None:
        *parents, last = (int(part) if part.isdigit() else part for part in place.split("/"))
        for part in parents:
            document = document[part]
        if value is ...:
            del document[last]
        else:
            document[last] = value

    return apply
