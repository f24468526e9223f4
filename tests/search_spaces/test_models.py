"""URIs of networks: forms, absolute paths, and what is refused without showing a secret."""

from pathlib import Path

import pytest

from search_spaces.errors import ConfigError, UnknownNameError
from search_spaces.model import parse
from search_spaces.models import MODEL_FORMS, MODELS, REFUSED, ModelSpec, model_spec
from trainables.models.registry import KINDS

UID = "0123456789abcdef"


@pytest.mark.parametrize(
    ("uri", "canonical"),
    [
        ("resnet18", "timm:resnet18"),
        ("resnet18.a1_in1k", "timm:resnet18.a1_in1k"),
        ("resnet18@w.pt", "timm:resnet18@{here}/w.pt"),
        ("resnet18@a:b.pt", "timm:resnet18@{here}/a:b.pt"),
        ("timm:resnet18@sub/w@2.pt", "timm:resnet18@{here}/sub/w@2.pt"),
        ("torchvision:resnet18@../{name}/w.pth", "torchvision:resnet18@{here}/w.pth"),
        ("hf:folder/", "hf:{here}/folder"),
        ("python:nets.small:make", "python:nets.small:make"),
        (f"trial:{UID}", f"trial:{UID}"),
        (UID, f"trial:{UID}"),
    ],
)
def test_every_form_has_one_absolute_spelling(
    uri: str, canonical: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = model_spec(uri.format(name=tmp_path.name))
    assert spec.uri == canonical.format(here=tmp_path)
    assert model_spec(spec.uri) == spec


def test_every_accepted_kind_is_opened_and_no_other() -> None:
    assert set(KINDS) == set(MODELS)
    assert not set(KINDS) & set(REFUSED)


def test_unknown_kind_says_what_is_accepted() -> None:
    with pytest.raises(UnknownNameError) as caught:
        model_spec("keras:resnet18")
    assert all(form in str(caught.value) for form in MODEL_FORMS)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("torchvision:resnet18", r"form is torchvision:NAME@FILE"),
        ("timm:resnet18@", r"form is timm:NAME\[@FILE\]"),
        ("timm:", r"form is timm:NAME"),
        ("hf:", r"form is hf:FOLDER"),
        ("python:nets", r"form is python:MODULE:FUNCTION"),
        ("python:nets:make()", r"form is python:MODULE:FUNCTION"),
        ("trial:12", r"form is trial:UID"),
        ("weights/net.pt", r"is a path, which does not say of what network"),
        ("net.onnx", r"is a path"),
        ("pt2:net.pt2", r"torch.export.load unpickles .* python:MODULE:FUNCTION"),
        ("timm:resnet18@s3://bucket/w.pt", r"lies on an object store: copy it to this machine"),
    ],
)
def test_what_is_incomplete_or_not_read_gets_one_line(uri: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        model_spec(uri)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        *("timm:resnet18@s3://key:secret@bucket/w.pt", "resnet18@s3://key:secret@bucket/w.pt"),
        *("hf:s3://key:secret@bucket/folder", "s3://key:se/cret@bucket/w.pt", "keras:s3://key:secret@bucket/w"),
    ],
)
@pytest.mark.parametrize("read", [model_spec, lambda uri: parse(ModelSpec, {"uri": uri})])
def test_credentials_are_refused_and_not_repeated(uri: str, read: object) -> None:
    assert callable(read)
    with pytest.raises(ConfigError, match="holds credentials") as caught:
        read(uri)
    assert "key" not in str(caught.value).replace("AWS_ACCESS_KEY_ID", "")


def test_fingerprint_is_left_out_until_it_is_known() -> None:
    assert model_spec("resnet18").model_dump() == {"uri": "timm:resnet18"}
    with pytest.raises(ConfigError, match="sha256"):
        parse(ModelSpec, {"uri": "resnet18", "sha256": "no checksum"})
