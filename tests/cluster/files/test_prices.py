"""Prices come from a table that a user can edit, and a machine that it lacks is answered with the nearest names."""

from dataclasses import replace
from pathlib import Path

import pytest

from cluster.files.node_types import Cluster, NodeType
from cluster.files.prices import PRICES, price_per_paid_hour, read_prices
from search_spaces.errors import ConfigError, UnknownNameError

HEAD = NodeType(
    name="head",
    machine="m5.xlarge",
    resources={"CPU": 0, "GPU": 0},
    min_workers=0,
    max_workers=0,
    is_spot=False,
    is_head=True,
)
GPU = NodeType(
    name="gpu",
    machine="g6.48xlarge",
    resources={"CPU": 192, "GPU": 8},
    min_workers=0,
    max_workers=2,
    is_spot=False,
    is_head=False,
)


def cluster_of(*node_types: NodeType) -> Cluster:
    return Cluster(source="my.yaml", node_types=node_types, max_workers=sum(each.max_workers for each in node_types))


def table(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text("checked: 2027-01-31\nprices:\n" + "".join(f"  {line}\n" for line in lines))
    return path


def test_every_line_that_comes_along_is_a_whole_machine_or_a_gpu_to_attach() -> None:
    prices = read_prices().prices
    assert len(prices) > 30
    for name, price in prices.items():
        assert price.spot <= price.on_demand
        assert (price.cpus is None) == (name.startswith("nvidia-") or name == "head")
        assert price.cpus is None or price.cpus >= price.gpus


def test_price_is_of_the_machine_and_of_what_is_attached_to_it(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "n1-standard-8: {on_demand: 0.4, spot: 0.1, cpus: 8}",
        "nvidia-tesla-t4: {on_demand: 0.3, spot: 0.2, gpus: 1, gpu: T4, approximate: true}",
    )
    node_type = replace(GPU, machine="n1-standard-8", accelerators=("nvidia-tesla-t4",) * 2, resources={})
    machine = read_prices(path).machine(node_type)
    assert (machine.on_demand, machine.spot) == pytest.approx((1.0, 0.5))
    assert (machine.cpus, machine.gpus, machine.kind, machine.is_approximate) == (8, 2, "T4", True)


def test_market_of_the_file_decides_the_price() -> None:
    prices = read_prices()
    on_demand, spot = prices.machine(GPU), prices.machine(replace(GPU, is_spot=True))
    assert on_demand.price == on_demand.on_demand == spot.on_demand
    assert spot.price == spot.spot == on_demand.spot


def test_what_the_cluster_file_says_of_resources_wins_over_the_table() -> None:
    prices = read_prices()
    looked_up = prices.machine(replace(GPU, resources={}))
    assert (looked_up.cpus, looked_up.gpus, looked_up.kind) == (192, 8, "L4")
    told = prices.machine(replace(GPU, resources={"CPU": 16, "GPU": 0}))
    assert (told.cpus, told.gpus, told.kind) == (16, 0, "cpu")


def test_own_lines_win_and_need_not_repeat_the_others(tmp_path: Path) -> None:
    own = read_prices(table(tmp_path, "g6.48xlarge: {on_demand: 99, spot: 98, cpus: 192, gpus: 8, gpu: L4}"))
    assert own.machine(GPU).on_demand == 99
    assert own.machine(HEAD) == read_prices().machine(HEAD)
    assert own.checked.isoformat() == "2027-01-31"


def test_unknown_machine_names_the_file_and_the_nearest_lines() -> None:
    with pytest.raises(ConfigError) as caught:
        read_prices().machine(replace(GPU, machine="g6.49xlarge"))
    text = str(caught.value)
    assert "no price for 'g6.49xlarge', the machine of node type 'gpu'" in text
    assert str(PRICES) in text
    assert "g6.48xlarge" in text
    assert "--prices FILE" in text
    assert "\n" not in text


def test_group_of_pods_that_names_no_machine_can_have_a_line_of_its_own(tmp_path: Path) -> None:
    node_type = replace(GPU, machine="own-machines", resources={"CPU": 8, "GPU": 2})
    with pytest.raises(
        ConfigError, match=r"no price for 'own-machines'.*Name a machine in the nodeSelector of its pods"
    ):
        read_prices().machine(replace(node_type, name="own-machines"))
    path = table(tmp_path, "own-machines: {on_demand: 0.5, spot: 0.5, gpus: 2, gpu: RTX 4090}")
    assert read_prices(path).machine(node_type).kind == "RTX 4090"


BAD_TABLES = {
    "spot above on demand": ("x: {on_demand: 1, spot: 2}", "spot=2.0 is above on_demand=1.0"),
    "no price": ("x: {on_demand: 1}", "prices.x.spot"),
    "negative": ("x: {on_demand: -1, spot: 1}", "prices.x.on_demand=-1"),
    "unknown field": ("x: {on_demand: 1, spott: 1}", "Did you mean 'spot'"),
    "gpus of no kind": ("x: {on_demand: 1, spot: 1, gpus: 2}", "give both, or neither"),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in BAD_TABLES.items()])
def test_bad_line_of_a_table_is_one_line_with_its_place(tmp_path: Path, case: tuple[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read_prices(table(tmp_path, case[0]))
    assert case[1] in str(caught.value)
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_table_without_a_date_or_with_another_form_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("prices: {}")
    with pytest.raises(ConfigError, match=r"p.yaml: checked"):
        read_prices(tmp_path / "p.yaml")
    (tmp_path / "p.yaml").write_text("- x")
    with pytest.raises(ConfigError, match="holds no mapping"):
        read_prices(tmp_path / "p.yaml")
    (tmp_path / "p.yaml").write_text("checked: 2026-01-01\nprice: {}")
    with pytest.raises(UnknownNameError, match="Did you mean 'prices'"):
        read_prices(tmp_path / "p.yaml")


def test_paid_hour_is_a_gpus_part_of_the_dearest_machine_for_trials() -> None:
    prices = read_prices()
    cheap = replace(GPU, name="cheap", machine="g6.xlarge", resources={"CPU": 4, "GPU": 1})
    price, machine = price_per_paid_hour(cluster_of(HEAD, cheap, GPU), prices)
    # 13.35 / 8 = 1.67 for a GPU of the large machine, 0.805 for the small one's.
    assert price == pytest.approx(13.35 / 8)
    assert machine.node_type == GPU
    spot = replace(GPU, is_spot=True)
    assert price_per_paid_hour(cluster_of(HEAD, spot), prices)[0] == pytest.approx(4.476 / 8)


def test_paid_hour_is_a_cores_part_where_no_machine_has_a_gpu() -> None:
    head = replace(HEAD, resources={"CPU": 4})
    assert price_per_paid_hour(cluster_of(head), read_prices())[0] == pytest.approx(0.192 / 4)


def test_cluster_without_room_for_trials_has_no_price_per_paid_hour() -> None:
    with pytest.raises(ConfigError, match=r"my\.yaml has no machine with a core for trials"):
        price_per_paid_hour(cluster_of(HEAD, replace(GPU, max_workers=0)), read_prices())


def test_cores_that_nobody_tells_are_asked_for(tmp_path: Path) -> None:
    path = table(tmp_path, "x1: {on_demand: 1, spot: 1}")
    with pytest.raises(ConfigError, match="nothing says how many cores a x1 has"):
        read_prices(path).machine(replace(HEAD, machine="x1", resources={}))


def test_gpus_of_a_kind_that_nobody_tells_are_asked_for() -> None:
    with pytest.raises(ConfigError, match="has 1 GPUs of no known kind"):
        read_prices().machine(replace(HEAD, resources={"CPU": 4, "GPU": 1}))
