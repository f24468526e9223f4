"""Bad flags, grid files, stores and data: one line with the value, the rule and the hint; nothing written or lost."""

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.cli.main import main
from orchestrator.plan import build_plan
from orchestrator.store.folder import CHECKPOINT, EPOCHS, RECIPE, RESULT
from orchestrator.store.store import Store
from orchestrator.store.sweep import PLAN, LaunchOptions, Sweep
from orchestrator.store.trial import trial_of
from search_spaces.grids.build import Choices, build_grid

SMOKE = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)
TEACHER = SMOKE.nodes[0]


def damage(path: str, content: bytes) -> Callable[[Path], None]:
    """Returns what overwrites a file below the storage."""
    return lambda root: (root / "store" / path).write_bytes(content) and None


def grid_file(text: str) -> Callable[[Path], None]:
    """Returns what writes my.yaml."""
    return lambda root: (root / "my.yaml").write_text(text) and None


def locked(root: Path) -> None:
    (root / "file").write_text("")


def image(path: Path, size: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((size, size, 3), np.uint8)).save(path)


def one_class(root: Path) -> None:
    for number in range(3):
        image(root / "flowers" / "rose" / f"{number}.png")


def one_more_level(root: Path) -> None:
    for name in ("rose", "tulip"):
        for part in ("train", "valid"):
            image(root / "flowers" / "data" / part / name / "a.png")


def onnx_file(root: Path) -> None:
    (root / "my.onnx").write_bytes(b"\x08\x07\x12\x07pytorch")


def few_images(root: Path) -> None:
    image(root / "flowers" / "rose" / "a.png")
    image(root / "flowers" / "tulip" / "a.png")


def no_labels(root: Path) -> None:
    for number in range(9):
        image(root / "flowers" / f"{number}.png")


def no_table(root: Path) -> None:
    (root / "train.parquet").write_bytes(b"PAR1 and nothing else")


NOTHING: Callable[[Path], None] = lambda root: None  # noqa: E731
GRID = "name: my\nbase: quick\n"
MY = "plan --grid my.yaml"
CLOCK = "1764258087123456789"
"""What `date +%s%N` prints."""
BULK = ", ".join(f"key{number}: value" for number in range(500))
LAUGHS = "name: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"k{before}: &{after} [{','.join([f'*{before}'] * 10)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)


def searching(line: str) -> Callable[[Path], None]:
    """Returns what writes a my.yaml with a line about its search."""
    return grid_file(f"{GRID}search:\n  {line}\n")


PLAN_JSON, FOLDER = f"sweeps/smoke/{PLAN}", f"teacher/{TEACHER.uid}"

# what is prepared, what is typed, exit code, and what the line must hold: the value, the rule, the hint
CASES: dict[str, tuple[Callable[[Path], None], str, int, tuple[str, ...]]] = {
    # flags
    "no such command": (NOTHING, "lunch", 2, ("'lunch'", "No such command", "--help")),
    "no such option": (NOTHING, "plan --sed 1", 2, ("--sed", "No such option", "--seed")),
    "negative seed": (NOTHING, "plan --seed -1", 2, ("-1", "0<=x<=4294967295", "--seed")),
    "seed of a clock typed": (NOTHING, f"plan --seed {CLOCK}", 2, (CLOCK, "0<=x<=4294967295", "--seed")),
    "seed of 65 bits": (NOTHING, f"launch --seed {2**64}", 2, (str(2**64), "0<=x<=4294967295", "--seed")),
    "seeds that confirm": (
        NOTHING, f"plan --seed {2**32 - 1} --confirm-seeds 1", 1, ("seed=4294967296", "0 to 4294967295", "confirm"),
    ),
    "split seed of a clock": (NOTHING, f"plan --set dataset.split_seed={CLOCK}", 1, (CLOCK, "0 to", "split_seed=")),
    "split seed below": (NOTHING, "launch --set dataset.split_seed=-1", 1, ("=-1", "0 to", "split_seed")),
    "draw seed below": (NOTHING, "analyze --set corruptions.draw_seed=-1", 1, ("=-1", "0 to", "draw_seed")),
    "rate switched on": (NOTHING, "plan --set pair.learning_rate=on", 1, ("=True", "boolean", "learning_rate")),
    "rate without end": (NOTHING, "plan --set pair.weight_decay=.inf", 1, ("=inf", "finite", "weight_decay")),
    "long name": (NOTHING, f"launch --name {'n' * 300}", 1, ("nnn ... nnn", "300 bytes", "shorter --name")),
    "long name of a plan": (NOTHING, f"plan --name {'ü' * 120}", 1, ("üü", "240 bytes", "shorter --name")),
    "long number": (NOTHING, f"plan --set pair.epochs={'9' * 5000}", 1, ("9 ... 9", "no readable value", "number")),
    "budget no number": (NOTHING, "plan --budget many", 2, ("'many'", "integer", "--budget")),
    "no such goal": (NOTHING, "plan --goal evil", 2, ("'evil'", "is not one of", "'robust', 'detrimental'")),
    "share above a GPU": (NOTHING, "launch --gpus-per-trial 2", 2, ("2", "0.01<=x<=1", "--gpus-per-trial")),
    "cap of nothing": (NOTHING, "launch --max-hours 0", 2, ("0", "x>0", "--max-hours")),
    "cost without a price": (NOTHING, "launch --max-cost 5", 2, ("--max-cost", "needs", "--price-per-hour")),
    "price below zero": (NOTHING, "status --price-per-hour -1", 2, ("-1", "x>0", "--price-per-hour")),
    "watch as JSON": (NOTHING, "status --watch --json", 2, ("--watch", "exclude each other", "--json")),
    "port out of range": (NOTHING, "ui --port 70000", 2, ("70000", "1<=x<=65535", "--port")),
    "no uid": (NOTHING, "logs", 2, ("UID", "Missing argument", "--help")),
    "size of no height": (NOTHING, "plan --image-size 0x32", 2, ("'0x32'", "at least 8", "as in 48x192")),
    "size of no width": (NOTHING, "plan --image-size 48x", 2, ("'48x'", "at least 8", "as in 48x192")),
    "size of three": (NOTHING, "plan --image-size 48x192x3", 2, ("'48x192x3'", "at least 8", "as in 48x192")),
    "hexadecimal size": (NOTHING, "plan --set dataset.image_size=0x32", 1, ("'0x32'", "at least 8", "as in 48x192")),
    "std of zero": (NOTHING, "plan --std 0,1,1", 2, ("'0,1,1'", "above 0 and up to 1", "0.229,0.224,0.225")),
    "four means": (NOTHING, "plan --mean 1,1,1,1", 2, ("'1,1,1,1'", "three numbers", "0.485,0.456,0.406")),
    "crop of nothing": (NOTHING, "plan --crop 0", 2, ("0.0", "0<x<=1", "--crop")),
    "crop of more": (NOTHING, "plan --crop 1.2", 2, ("1.2", "0<x<=1", "--crop")),
    "crop of all": (NOTHING, "plan --crop-mode pad --crop 0.5", 1, ("0.5", "shows all of it", "leave crop out")),
    "no such filter": (NOTHING, "plan --interpolation cubic", 2, ("'cubic'", "is not one of", "'bicubic'")),
    "no such grid": (NOTHING, "plan --grid quik", 1, ("'quik'", "unknown grid", "Did you mean 'quick'")),
    "no such dataset": (NOTHING, "plan --dataset digit", 1, ("'digit'", "unknown dataset", "Did you mean 'digits'")),
    "no such network": (NOTHING, "plan --architecture resnet81", 1, ("'resnet81'", "unknown", "'resnet18'")),
    "network of a hub": (NOTHING, "plan --architecture hf-hub:a/b", 1, ("'hf-hub:a/b'", "no name of", "hf:FOLDER")),
    "network of torchvision": (
        NOTHING, "plan --architecture torchvision.resnet18", 1, ("n.resnet18'", "no name of timm", "torchvision:NAME"),
    ),
    "network of a file": (NOTHING, "plan --architecture x.onnx", 1, ("'x.onnx'", "no name of timm", "onnx:FILE")),
    "network of a program": (NOTHING, "plan --architecture x.pt2", 1, ("'x.pt2'", "no name of timm", "--white-box")),
    "network of the web": (NOTHING, "plan --architecture http://h/x", 1, ("'http://h/x'", "no name of", "resnet18")),
    "teacher of a hub": (NOTHING, "plan --set teacher.architecture=hf-hub:x", 1, ("'hf-hub:x'", "no name", "hf:")),
    "no such weights": (NOTHING, "plan --teacher-weights imagenett", 1, ("'imagenett'", "unknown", "'imagenet'")),
    "no file of weights": (NOTHING, "launch --teacher-weights my.pt", 1, ("'my.pt'", "is no file", "scratch")),
    "weights of an arm": (NOTHING, "compare --arm recipe --teacher-weights my.pt", 1, ("'my.pt'", "is no file")),
    "weights of the web": (NOTHING, "plan --teacher-weights https://h/x.pt", 1, ("https://h/x.pt", "URL", "download")),
    "weights of a grid file": (
        grid_file(GRID + "teacher: {weights: none.pth}"), MY, 1, ("'none.pth'", "is no file", ".safetensors"),
    ),
    "weights of ONNX": (onnx_file, "launch --teacher-weights my.onnx", 1, ("my.onnx", "neither safetensors", "torch")),
    "no such option set": (NOTHING, "plan --option-set IV", 1, ("'IV'", "unknown option set", "III")),
    "no such analysis": (NOTHING, "analyze --only layer", 1, ("'layer'", "unknown analysis", "layers")),
    "infeasible budget": (NOTHING, "plan --budget 20", 1, ("20", "45..150", "nearest feasible budget is 45")),
    "no epochs": (NOTHING, "plan --epochs-scale 0", 1, ("--epochs-scale 0.0", "positive number", "0.5")),
    "no such field": (NOTHING, "plan --set pair.marginn=1", 1, ("pair.marginn", "unknown field", "'margin'")),
    "value out of range": (NOTHING, "plan --set pair.margin=2", 1, ("pair.margin=2", "less than 1", "--set")),
    "name leaves the storage": (NOTHING, "launch --name ../x", 1, ("'../x'", "cannot be a folder", "use letters")),
    "no such sweep": (NOTHING, "status smok", 1, ("'smok'", "unknown sweep", "Did you mean 'smoke'")),
    "Ray Client": (NOTHING, "launch --address ray://h:10001", 1, ("ray://h:10001", "Ray Client", "http://HOST:8265")),
    "no such address": (NOTHING, "launch --address ssh://h", 1, ("ssh://h", "unknown kind", "host:port")),
    "no dashboard": (NOTHING, "launch --address http://127.0.0.1:9", 1, ("http://127.0.0.1:9", "no Ray dash", "8265")),
    "dashboard with a password": (NOTHING, "launch --address http://a:pw@h:1", 1, ("credentials", "RAY_AUTH_TOKEN")),
    "resume as a job": (NOTHING, "resume --address http://h:1", 1, ("http://h:1", "only `launch`", "--address auto")),
    "no such trial": (NOTHING, "logs zz", 1, ("'zz'", "unknown trial", TEACHER.uid)),
    "no Ray cluster": (NOTHING, "launch --address 127.0.0.1:9", 1, ("127.0.0.1:9", "no Ray cluster", "ray start")),
    "hook with a password": (NOTHING, "launch --on-event http://a:pw@h/x", 1, ("--on-event", "not sent", "token")),
    "no MLflow": (NOTHING, "launch --tracking-uri http://127.0.0.1:9", 1, ("127.0.0.1:9", "cannot reach", "Start it")),
    "MLflow files": (NOTHING, "launch --tracking-uri file:///x", 1, ("file:///x", "no longer opens", "sqlite:///")),
    # clusters
    "no cluster file": (NOTHING, "cluster up my.yaml", 1, ("my.yaml", "cannot be read", "No such file")),
    "a grid as a cluster": (grid_file(GRID), "cluster down my.yaml", 1, ("my.yaml", "0 clusters", "cluster_name")),
    "nothing to submit": (NOTHING, "cluster submit", 2, ("launch ARGS", "only a launch", "--help")),
    "a report as a job": (NOTHING, "cluster submit -- report", 2, ("launch ARGS", "only a launch", "--help")),
    "two clusters": (NOTHING, "cluster submit --address x c.yaml launch", 2, ("FILE", "exclude", "--address")),
    "a job elsewhere": (NOTHING, "cluster submit launch --address h:1", 2, ("--address", "in front", "joins")),
    "a job's bad flag": (NOTHING, "cluster submit launch --sed 1", 2, ("--sed", "No such option", "--seed")),
    "a job's bad budget": (NOTHING, "cluster submit launch --budget 20", 1, ("20", "45..150", "nearest")),
    "no job server": (NOTHING, "cluster status --address http://127.0.0.1:9", 1, ("127.0.0.1:9", "no Ray", "8265")),
    "status of no cluster": (grid_file(GRID), "cluster logs --address my.yaml", 1, ("my.yaml", "0 clusters", "one")),
    # grid files
    "no file": (NOTHING, "plan --grid my.yaml", 1, ("my.yaml", "cannot be read", "No such file")),
    "no YAML": (grid_file("name: [my"), "plan --grid my.yaml", 1, ("my.yaml", "line 1", "expected")),
    "a list": (grid_file("[1, 2]"), "plan --grid my.yaml", 1, ("my.yaml", "mapping", "name")),
    "key twice": (grid_file(GRID + "seeds: [0]\nseeds: [1]"), "plan --grid my.yaml", 1, ("seeds", "twice", "line")),
    "unknown key": (grid_file(GRID + "seed: [0]"), "plan --grid my.yaml", 1, ("my.yaml: seed", "unknown", "'seeds'")),
    "no name": (grid_file("base: quick"), MY, 1, ("my.yaml: name", "is missing", "give it a value")),
    "no name of much": (grid_file(f"pair: {{robust: {{{BULK}}}}}"), MY, 1, ("my.yaml: name", "missing", "a value")),
    "epochs switched on": (grid_file(GRID + "pair: {epochs: on}"), MY, 1, ("pair.epochs=True", "boolean", "number")),
    "seeds agreed to": (grid_file(GRID + "seeds: [yes]"), MY, 1, ("seeds=[True]", "boolean", "no number")),
    "trials agreed to": (searching("trials: yes"), MY, 1, ("search.trials=True", "boolean", "no number")),
    "a bound without end": (searching("space: {hinge_weight: [0.1, .inf]}"), MY, 1, ("inf", "finite", "hinge_weight")),
    "a bound that is none": (searching("space: {margin: [.nan, 0.5]}"), MY, 1, ("nan", "finite", "margin")),
    "seed of a clock": (grid_file(GRID + f"seeds: [{CLOCK}]"), MY, 1, (CLOCK, "0 to 4294967295", "seed=")),
    "nested aliases": (grid_file(LAUGHS), MY, 1, ("my.yaml, line", "more than 100000 values", "no YAML")),
    "nested brackets": (grid_file("name: " + "[" * 5000), MY, 1, ("my.yaml, line 1", "more than 40 lists", "no YAML")),
    "seed of a file": (grid_file(GRID + "seeds: [-1]"), "plan --grid my.yaml", 1, ("-1", "greater than", "seeds")),
    # searches
    "no such sampler": (NOTHING, "plan --sampler tep", 2, ("'tep'", "is not one of", "'cmaes'")),
    "no such pruner": (NOTHING, "plan --pruner hyperband", 2, ("'hyperband'", "is not one of", "'halving'")),
    "search of less than nothing": (NOTHING, "plan --search-trials -1", 2, ("-1", "x>=0", "--search-trials")),
    "search for no time": (NOTHING, "plan --search-gpu-hours 0", 2, ("0", "x>0", "--search-gpu-hours")),
    "seeds below none": (NOTHING, "plan --confirm-seeds -2", 2, ("-2", "x>=0", "--confirm-seeds")),
    "no such objective": (searching("objective: lead"), MY, 1, ("search.objective", "lead", "'drop' or 'lag'")),
    "field of no search": (searching("trails: 2"), MY, 1, ("search.trails", "unknown field", "'trials'")),
    "field of no space": (searching("space: {kd: [1, 2]}"), MY, 1, ("space.kd", "unknown field", "kd_weight")),
    "range upside down": (searching("space: {margin: [0.5, 0.1]}"), MY, 1, ("[0.5, 0.1]", "low < high", "margin")),
    "range from zero": (searching("space: {margin: [0, 0.1]}"), MY, 1, ("[0.0, 0.1]", "0 < low", "margin")),
    "choice twice": (searching("space: {batch_norm: [both, both]}"), MY, 1, ("'both', 'both'", "twice", "once")),
    "nothing to search": (
        searching("space: {margin: null, kd_weight: null, hinge_weight: null}"), MY, 1, ("space", "nothing", "name a"),
    ),
    "most below the mean": (searching("trials: 4\n  max_trials: 2"), MY, 1, ("max_trials=2", "trials=4", "raise it")),
    "level of no budget": (searching("levels: [D]"), MY, 1, ("'D'", "unknown budget level", "A, B, C")),
    # stores
    "storage is a file": (locked, "launch --storage file", 1, ("file", "cannot write", "choose another")),
    "storage of one slash": (NOTHING, "plan --storage s3:/bkt/a", 1, ("'s3:/bkt/a'", "no URI", "write s3://bkt/a")),
    "storage of one slash, Google": (NOTHING, "launch --storage gs:/bkt", 1, ("'gs:/bkt'", "no URI", "gs://bkt")),
    "storage of no slash": (NOTHING, "ls --storage s3:bkt", 1, ("'s3:bkt'", "no URI", "write s3://bkt")),
    "storage of one slash, a file": (NOTHING, "plan --storage FILE:/x", 1, ("'FILE:/x'", "no URI", "write file:///x")),
    "storage of three slashes": (NOTHING, "launch --storage s3://b//a", 1, ("'s3://b//a'", "empty part", "s3://b/a")),
    "storage of nothing": (NOTHING, "launch --storage ''", 1, ("storage", "is empty", "name a folder")),
    "table of one slash": (NOTHING, "plan --dataset parquet:s3:/b/a", 1, ("'s3:/b/a'", "no URI", "write s3://b/a")),
    "folder of nothing": (NOTHING, "plan --dataset folder:", 1, ("'folder:'", "names no path", "folder:PATH")),
    "weights of one slash": (NOTHING, "plan --teacher x@s3:/w", 1, ("'s3:/w'", "no URI", "write s3://w")),
    "storage of no kind": (NOTHING, "ls --storage ftp://h/x", 1, ("ftp://h/x", "cannot be opened", "s3://")),
    "plan cut short": (damage(PLAN_JSON, b'{"sch'), "status", 1, (PLAN, "is not a JSON object", "Move it away")),
    "plan of the future": (damage(PLAN_JSON, b'{"schema": 9}'), "gc", 1, ("schema 9", "reads 1", "use the version")),
    "epochs cut short": (damage(f"{FOLDER}/{EPOCHS}", b"PAR1"), "status", 1, (EPOCHS, "no Parquet table", "Delete")),
    "recipe cut short": (damage(f"{FOLDER}/{RECIPE}", b"{"), "logs teacher", 1, (RECIPE, "JSON object", "Move it")),
    "result of the future": (
        damage(f"{FOLDER}/{RESULT}", b'{"schema": 9}'), "reproduce " + TEACHER.uid, 1, ("schema 9", "writes 1", "use"),
    ),
    "checkpoint damaged": (
        damage(f"{FOLDER}/{CHECKPOINT}", b"x"), "reproduce " + TEACHER.uid, 1, (CHECKPOINT, "checksum", "--restart"),
    ),
    # data
    "no folder": (NOTHING, "launch --dataset folder:none", 1, ("none", "no folder on this machine", "name one")),
    "one class": (one_class, "launch --dataset folder:flowers", 1, ("flowers", "two classes", "add")),
    "one image a class": (few_images, "launch --dataset folder:flowers", 1, ("rose", "1", "images")),
    "no labels": (no_labels, "launch --dataset folder:flowers", 1, ("flowers", "without labels", "folder per class")),
    "another layout": (one_more_level, "plan --dataset folder:flowers", 1, ("flowers/data", "no class", "train, ")),
    "one class of a plan": (one_class, "plan --dataset folder:flowers", 1, ("flowers", "two classes", "add")),
    "no Parquet": (no_table, "launch --dataset parquet:train.parquet", 1, ("train.parquet", "Parquet", "")),
    "too few kept": (NOTHING, "launch --train-images 5", 1, ("5", "2 each", "choose 20")),
    "nothing to fetch": (NOTHING, "launch --download", 1, ("--download", "fetches cifar10", "oxford-iiit-pet")),
}  # fmt: skip


def snapshot(root: Path) -> dict[Path, bytes | None]:
    """Everything below a folder, except the file by which a driver keeps others off."""
    paths = [path for path in root.rglob("*") if path.name != "driver.lock"]
    return {path: path.read_bytes() if path.is_file() else None for path in paths}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a storage in which a sweep's teacher is done."""
    store = Store(str(tmp_path / "store"))
    sweep = Sweep(store, "smoke")
    sweep.save_plan(SMOKE)
    sweep.save_launch(LaunchOptions())
    folder = trial_of(store, TEACHER)
    folder.write_recipe(TEACHER, None)
    folder.write_epoch([{"epoch": 1, "seconds": 1.0, "timestamp_ms": 0}], b"state")
    folder.write_result({}, {CHECKPOINT: b"trained"}, seconds=1.0, data_sha256="d")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_forty_bad_inputs() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_with_value_rule_and_cure(
    workplace: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    prepare, typed, expected, parts = CASES[case]
    prepare(workplace)
    before = snapshot(workplace)
    has_storage = not typed.startswith("cluster ")
    storage = ["--storage", "store"] if has_storage and "--storage" not in typed and expected != 2 else []
    with pytest.raises(SystemExit) as exit_info:
        main([*shlex.split(typed), *storage])
    printed = capsys.readouterr()
    assert exit_info.value.code == expected, printed.out + printed.err
    assert printed.out == ""
    assert printed.err.startswith("Error: ")
    assert printed.err.count("\n") == 1
    assert len(printed.err) < 1000
    missing = [part for part in parts if part not in printed.err]
    assert not missing, printed.err
    assert snapshot(workplace) == before
