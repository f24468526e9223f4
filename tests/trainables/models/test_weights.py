"""Files of weights: one network however it was saved, and one line for whatever is no checkpoint."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from search_spaces.errors import ConfigError, SweepError, UnavailableError
from trainables.models.fingerprint import state_sha256
from trainables.models.given import GivenNetwork
from trainables.models.weights import read_weights

Opener = Callable[[str], GivenNetwork]


class Evil:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("was_run",)


def saved(model: nn.Module, path: Path, form: str) -> Path:
    """Writes the weights of a model in one of the forms that people have."""
    state = model.state_dict()
    contents: dict[str, object] = {
        "plain": state,
        "timm": {"epoch": 3, "arch": "test_resnet", "state_dict": state},
        "below model": {"model": state, "optimizer": {"lr": 0.1}},
        "data parallel": {"state_dict": nn.DataParallel(model).state_dict()},
        "compiled": {f"_orig_mod.{name}": tensor for name, tensor in state.items()},
        "lightning": {"state_dict": {f"model.{name}": tensor for name, tensor in state.items()}},
        "averaged": {"state_dict": {n: torch.zeros_like(t) for n, t in state.items()}, "state_dict_ema": state},
        "swa": {**{f"module.{name}": tensor for name, tensor in state.items()}, "n_averaged": torch.tensor(4)},
        "without counters": {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")},
    }
    if form == "safetensors":
        save_file(state, path)
    elif form == "legacy":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        torch.save(contents[form], path)
    return path


FORMS = (
    *("safetensors", "legacy", "plain", "timm", "below model", "data parallel", "compiled", "lightning"),
    *("averaged", "swa", "without counters"),
)


@pytest.mark.parametrize("form", FORMS)
def test_one_network_has_one_fingerprint_and_one_answer_in_every_file(
    form: str, resnet: nn.Module, opened: Opener, tmp_path: Path
) -> None:
    network = opened(f"test_resnet@{saved(resnet, tmp_path / 'weights.pt', form)}")
    assert network.sha256 == state_sha256(resnet.state_dict())
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(network.module(images), resnet(images).detach())


def test_fingerprint_sees_every_bit_name_and_shape(resnet: nn.Module) -> None:
    state = resnet.state_dict()
    first = state_sha256(state)
    name = "fc.weight"
    nudged = torch.nextafter(state[name][0, 0], torch.tensor(torch.inf))
    changed = state[name].clone()
    changed[0, 0] = nudged
    others = [
        state | {name: changed},
        state | {name: state[name].reshape(-1, 10)},
        {f"{n}_" if n == name else n: t for n, t in state.items()},
    ]
    assert len({first, *map(state_sha256, others)}) == 4
    assert state_sha256(dict(reversed(state.items()))) == first


def archive(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"content")


def made(kind: str, path: Path, resnet: nn.Module, resnet_file: Path) -> None:
    """Writes a file that is no complete checkpoint."""
    whole = path.with_name("whole")
    torch.save(resnet.state_dict(), whole)
    content = {
        "empty": b"",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "page": b"\n<!DOCTYPE html><html>Sign in</html>",
        "noise": bytes(range(1, 200)),
        "cut zip": whole.read_bytes()[:20_000],
        "cut safetensors": resnet_file.read_bytes()[:20_000],
        "pickle": pickle.dumps({"state_dict": Evil()}),
        "code": pickle.dumps({"state_dict": Evil()}, protocol=2),
    }
    if kind in content:
        path.write_bytes(content[kind])
    elif kind == "zip":
        archive(path, "readme.txt")
    elif kind == "torchscript":
        archive(path, "net/code/__torch__.py", "net/constants.pkl", "net/data.pkl")
    elif kind == "export":
        archive(path, "net/models/model.json", "net/data/weights/weight_0")
    elif kind == "module":
        torch.save(resnet, path)
    elif kind == "code in zip":
        torch.save({"state_dict": Evil()}, path)
    elif kind == "numbers":
        torch.save({"epoch": 3}, path)
    elif kind == "folder":
        path.mkdir()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", r"is no file"),
        ("folder", r"is a folder"),
        ("empty", r"is empty"),
        ("pointer", r"pointer of Git LFS"),
        ("page", r"is a web page"),
        ("noise", r"neither safetensors nor what torch.save wrote"),
        ("cut zip", r"damaged or cut short"),
        ("cut safetensors", r"cut short"),
        ("zip", r"zip archive, and no checkpoint"),
        ("torchscript", r"TorchScript"),
        ("export", r"archive of torch.export"),
        ("module", r"holds Python objects \(timm.*run code"),
        ("pickle", r"is a pickle that torch.save did not write"),
        ("code", r"holds Python objects \(\w+.mkdir\)"),
        ("code in zip", r"holds Python objects \(\w+.mkdir\)"),
        ("numbers", r"holds no state dict \(a mapping with epoch\)"),
    ],
)
def test_a_file_that_is_no_checkpoint_gets_one_line_and_runs_nothing(
    kind: str, said: str, resnet: nn.Module, resnet_file: Path, opened: Opener, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    made(kind, path, resnet, resnet_file)
    with pytest.raises(SweepError, match=said) as caught:
        opened(f"test_resnet@{path}")
    assert isinstance(caught.value, ConfigError | UnavailableError)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert not Path("was_run").exists()


@pytest.mark.parametrize("length", [1, 9, 100, 5_000, 90_000])
@pytest.mark.parametrize("form", ["safetensors", "legacy", "plain"])
def test_a_file_that_is_cut_anywhere_is_refused(form: str, length: int, resnet: nn.Module, tmp_path: Path) -> None:
    path = saved(resnet, tmp_path / "weights.pt", form)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ConfigError, match=r"weights.pt (is|holds)"):
        read_weights(path)
