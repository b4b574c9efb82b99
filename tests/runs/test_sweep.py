"""Sweeps: which points there are, which run side by side, and that each ends as if it ran alone."""

import tomllib

import jax
import numpy as np
import optax
import pytest
import xarray as xr
from helpers import assert_close, assert_identical, assert_refused, interrupt_call
from processes import end, start, start_two

import jaxphys as jp
from jaxphys import InputError, cli
from jaxphys.config import Batch, likeness, load_sweep, parse_config, parse_sweep
from jaxphys.runs import sweep as sweep_folder

pytestmark = pytest.mark.float64

BASE = """
realizations = 3
steps = 40
record_every = 20
record = ["effective_conductance", "k"]
[network]
kind = "flow"
graph = { kind = "erdos_renyi", nodes = 10, edges = 15 }
[task]
kind = "allostery"
response = 0.2
[rule]
kind = "coupled_learning"
[optimizer]
rate = 0.05
noise = 1e-4
"""
# Six points in two batches: graphs of two sizes.
SWEEP = """
[sweep.grid]
network.graph.edges = [15, 17]
[sweep.list]
"optimizer.rate" = [0.05, 0.1, 0.02]
seed = [3, 4, 5]
"""
RATES, SEEDS, EDGES = [0.05, 0.1, 0.02] * 2, [3, 4, 5] * 2, [15] * 3 + [17] * 3


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "sweep.toml"
    path.write_text(BASE + SWEEP)
    return path


@pytest.fixture(scope="module")
def swept(config, tmp_path_factory):
    out = tmp_path_factory.mktemp("swept") / "out"
    assert cli.main(["train", str(config), "--out", str(out)]) == 0
    return out


def opened(path):
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        return dataset.load()


def test_points_are_the_grid_times_the_list(config):
    sweep = load_sweep(config)
    assert sweep.keys == ["network.graph.edges", "optimizer.rate", "seed"]
    found = [tuple(point.values.values()) for point in sweep.points]
    assert found == list(zip(EDGES, RATES, SEEDS, strict=True))
    assert [point.config.optimizer.rate for point in sweep.points] == RATES
    assert [point.config.network.graph.edges for point in sweep.points] == EDGES
    assert load_sweep(config, ["sweep.grid={}"]).keys == ["optimizer.rate", "seed"]


def test_a_config_without_a_sweep_has_none(tmp_path):
    path = tmp_path / "plain.toml"
    path.write_text(BASE)
    assert load_sweep(path) is None


@pytest.mark.parametrize(
    ("sweep", "saying"),
    [
        ({}, "must name keys"),
        ([1], "must be a table"),
        ({"grit": {}}, "must be `sweep.grid` or `sweep.list`"),
        ({"grid": [1]}, "must be a table of keys"),
        ({"grid": {"seed": 3}}, "`seed` is 3"),
        ({"grid": {"seed": []}}, "`seed` is []"),
        ({"grid": {"stepz": [1]}}, "nearest known: 'steps'"),
        ({"grid": {"seed": [1, "two"]}}, "at seed = 'two': key `seed` must be an integer"),
        ({"grid": {"steps.many": [1]}}, "`steps` is a value"),
        ({"grid": {"a\nb": [1]}}, "names 'a\\nb'"),
        ({"grid": {"seed": ["x\n" * 1000]}}, "..."),
        ({"list": {"seed": [1, 2], "steps": [1]}}, "equally long"),
        ({"grid": {"seed": [1]}, "list": {"seed": [1]}}, "in both"),
        ({"grid": {"precision": ["float32"]}}, "cannot be swept"),
        ({"grid": {"seed": [1] * 101, "steps": [1] * 100}}, "at most 10000"),
    ],
)
def test_wrong_sweeps_are_refused(sweep, saying):
    with pytest.raises(InputError, match=r"^config"):
        parse_sweep({"steps": 3, "sweep": sweep})
    with pytest.raises(InputError) as error:
        parse_sweep({"steps": 3, "sweep": sweep})
    assert saying in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_one_point_that_cannot_be_keeps_all_from_starting(config, tmp_path, capsys):
    out = tmp_path / "out"
    # Nine edges cannot join ten nodes and leave one over, eight cannot join them at all.
    assert (
        cli.main(
            [
                "train",
                str(config),
                "--out",
                str(out),
                "--set",
                "sweep.grid={seed=[1]}",
                "--set",
                "sweep.list={network.graph.edges=[15,8]}",
            ]
        )
        == 2
    )
    assert "network.graph.edges = 8" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "alike"),
    [
        ({"seed": 7}, True),
        ({"realizations": 9}, True),
        ({"rule": {"kind": "coupled_learning", "nudge": 0.2}}, True),
        ({"optimizer": {"rate": 0.3, "noise": 1e-4}}, True),
        ({"task": {"kind": "allostery", "response": 0.3}}, True),
        ({"rule": {"kind": "exact_gradient"}}, False),
        ({"optimizer": {"rate": 0.05, "noise": 2e-4}}, False),
        ({"optimizer": {"kind": "adam", "rate": 0.05, "noise": 1e-4}}, False),
        ({"steps": 41}, False),
        ({"task": {"kind": "allostery", "response": 0.2, "tasks": 2}}, False),
    ],
)
def test_what_may_differ_in_a_batch(change, alike):
    base = tomllib.loads(BASE)
    assert (likeness(parse_config(base)) == likeness(parse_config({**base, **change}))) == alike


def test_a_batch_draws_each_config_as_it_is_alone():
    base = tomllib.loads(BASE)
    configs = [parse_config({**base, "seed": seed, "realizations": size}) for seed, size in ((1, 3), (2, 4))]
    (drawn, _), (late, _) = Batch(configs).draw(1, 6), Batch(configs[::-1]).draw(0, 3)
    for whole, part in zip(jax.tree.leaves(drawn), jax.tree.leaves(late), strict=True):
        if jax.dtypes.issubdtype(part.dtype, jax.dtypes.prng_key):
            whole, part = jax.random.key_data(whole), jax.random.key_data(part)
        if whole.ndim:
            assert_identical(np.asarray(whole)[2:], np.asarray(part))


def test_every_point_ends_as_if_it_ran_alone(config, swept, tmp_path):
    """Graph, seed and learning rate differ; blocks of one size leave no room for rounding."""
    for number, (edges, rate, seed) in enumerate(zip(EDGES, RATES, SEEDS, strict=True)):
        if number in (1, 5):
            alone = tmp_path / str(number)
            path = tmp_path / "plain.toml"
            path.write_text(BASE)
            settings = [f"network.graph.edges={edges}", f"optimizer.rate={rate}", f"seed={seed}"]
            assert cli.main(["train", str(path), "--out", str(alone), "--set", *settings]) == 0
            one, other = opened(alone / "run.nc"), opened(swept / f"points/{number:03d}/run.nc")
            assert set(one.variables) == set(other.variables)
            for name in (name for name in one.variables if one[name].size):
                assert_close(other[name].values, one[name].values, relative=1e-12, scale=1.0)
            settings = [tomllib.loads(dataset.attrs["config"]) for dataset in (one, other)]
            assert settings[0] == {**settings[1], "block": 3}
            assert one.attrs["seed"] == other.attrs["seed"]


def test_nudges_of_their_own(tmp_path):
    """A rule's nudge is a number of each realization, no constant of the program."""
    path = tmp_path / "sweep.toml"
    path.write_text(BASE + '[sweep.grid]\n"rule.nudge" = [0.5, 1e-3]\n')
    assert cli.main(["train", str(path), "--out", str(tmp_path / "swept")]) == 0
    path.write_text(BASE)
    assert cli.main(["train", str(path), "--out", str(tmp_path / "alone"), "--set", "rule.nudge=0.5"]) == 0
    one, both = opened(tmp_path / "alone" / "run.nc"), opened(tmp_path / "swept" / "sweep.nc")
    assert_close(both["k"].values[0], one["k"].values, relative=1e-11)
    assert abs(both["k"].values[1] / one["k"].values - 1).max() > 1e-6


def test_the_dataset_is_labelled(swept):
    dataset = opened(swept / "sweep.nc")
    assert dataset["cost"].dims == ("point", "realization", "record")
    assert dataset["network.graph.edges"].values.tolist() == EDGES
    assert dataset["optimizer.rate"].values.tolist() == RATES
    assert dataset["seed"].values.tolist() == SEEDS
    # Smaller networks have no sixteenth edge.
    assert dataset["k"].shape == (6, 3, 17)
    assert np.isnan(dataset["k"].values[:3, :, 15:]).all()
    assert np.isfinite(dataset["k"].values[3:]).all()
    assert dataset["status"].dtype.kind == "i"
    for number in range(6):
        alone = opened(swept / f"points/{number:03d}/run.nc")
        assert_identical(dataset["cost"].values[number], alone["cost"].values)
        assert_identical(dataset["final_cost"].values[number], alone["cost"].values[:, -1])
        assert_identical(dataset["k"].values[number][:, : EDGES[number]], alone["k"].values)
    chosen = dataset.set_index(point=["network.graph.edges", "seed"]).unstack("point")
    assert dict(chosen.sizes)["seed"] == 3


def test_the_folder_of_a_sweep(swept):
    assert not (swept / "groups").exists()
    assert {path.name for path in (swept / "points/000").iterdir()} == {
        "config.toml",
        "run.nc",
        "network.json",
    }
    page = (swept / "report.html").read_text()
    assert page.count('<tr><th scope="row">00') == 6
    assert "optimizer.rate" in page
    assert (swept / "figures" / "final_cost.png").stat().st_size > 10_000
    stored = tomllib.loads((swept / "config.toml").read_text())
    assert stored["sweep"]["list"]["seed"] == [3, 4, 5]
    assert stored["versions"]["jaxphys"] == jp.__version__


@pytest.mark.parametrize("call", [2, 8])
def test_an_interrupted_sweep_goes_on_bit_for_bit(call, config, swept, tmp_path, monkeypatch, capsys):
    """In the first batch and in the second, of which the first is not trained again."""
    out = tmp_path / "out"
    interrupt_call(monkeypatch, call)
    assert cli.main(["train", str(config), "--out", str(out)]) == 130
    assert "--resume" in capsys.readouterr().err
    done = (out / "points/000/run.nc").stat().st_mtime_ns if (out / "points").exists() else None
    assert (done is not None) == (call == 8)
    monkeypatch.undo()
    assert cli.main(["train", str(config), "--out", str(out)]) == 2
    assert cli.main(["train", str(config), "--out", str(out), "--resume"]) == 0
    if done is not None:
        assert (out / "points/000/run.nc").stat().st_mtime_ns == done
    one, other = opened(out / "sweep.nc"), opened(swept / "sweep.nc")
    for name in other.variables:
        assert_identical(one[name].values, other[name].values)


def test_a_sweep_that_died_while_it_tidied_up_can_be_finished(config, tmp_path, monkeypatch):
    out = tmp_path / "out"
    remove = sweep_folder.remove_blocks

    def die(folder):
        (folder / "run.nc").rename(folder / "blocks" / "000000.nc")
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep_folder, "remove_blocks", die)
    assert cli.main(["train", str(config), "--out", str(out), "--set", "sweep.grid={}"]) == 130
    assert (out / "points" / "002" / "network.json").exists()
    monkeypatch.setattr(sweep_folder, "remove_blocks", remove)
    assert cli.main(["train", str(config), "--out", str(out), "--set", "sweep.grid={}", "--resume"]) == 0
    assert not (out / "groups").exists()
    assert opened(out / "sweep.nc").sizes["point"] == 3


def test_a_folder_with_a_sweep_is_not_overwritten(config, swept, tmp_path, capsys):
    out = tmp_path / "out"
    plain = tmp_path / "plain.toml"
    plain.write_text(BASE)
    assert cli.main(["train", str(config), "--out", str(out), "--set", "sweep.grid={}"]) == 0
    (out / "points" / "000" / "notes.txt").write_text("mine")
    for given in (config, plain):
        assert cli.main(["train", str(given), "--out", str(out)]) == 2
        assert "already holds a run" in capsys.readouterr().err
        assert cli.main(["train", str(given), "--out", str(out), "--resume"]) == 2
        assert "another config" in capsys.readouterr().err
    assert cli.main(["train", str(plain), "--out", str(out), "--force"]) == 0
    left = sorted(path.name for path in (out / "points").rglob("*"))
    assert left == ["000", "notes.txt"]
    assert not (out / "sweep.nc").exists()
    assert cli.main(["train", str(config), "--out", str(out), "--resume"]) == 2
    assert "another config" in capsys.readouterr().err


def test_two_processes_give_the_same_sweep(config, swept, tmp_path):
    out = tmp_path / "out"
    statuses, printed = end(start_two(config, out, "--set", "block=3"))
    assert statuses == [0, 0], printed
    alone = tmp_path / "alone"
    statuses, printed = end([start(config, alone, "--set", "block=3")])
    assert statuses == [0], printed
    one, other = opened(out / "sweep.nc"), opened(alone / "sweep.nc")
    for name in other.variables:
        assert_identical(one[name].values, other[name].values)


def flow(number):
    network = jp.FlowNetwork(jp.erdos_renyi(9, 14, jax.random.key(number)), k=2.0)
    return network, jp.allostery(network, jp.Boundary(network, ground=[0]), [1], [5], response=0.2)


@pytest.fixture(scope="module")
def ensemble():
    return tuple(map(jp.stack, zip(*(flow(number) for number in range(3)), strict=True)))


def test_rules_and_rates_of_their_own(ensemble):
    """Each realization learns as in an ensemble that shares its rule and its rate."""
    nudges, rates = [1e-3, 0.1, 0.5], [0.1, 0.3, 0.2]
    rules = [jp.CoupledLearning(nudge) for nudge in nudges]
    own = jp.train(*ensemble, steps=30, rule=rules, optimizer=[jp.Descent(rate=rate) for rate in rates])
    for number, (rule, rate) in enumerate(zip(rules, rates, strict=True)):
        shared = jp.train(*ensemble, steps=30, rule=rule, optimizer=optax.sgd(rate))
        assert_close(own.network.k[number], shared.network.k[number], relative=1e-12)
        assert_close(own.cost[number], shared.cost[number], relative=1e-10)


def test_a_rate_is_where_adaptive_steps_start(ensemble):
    one = jp.train(*ensemble, steps=20, optimizer=jp.Descent(adaptive=jp.AdaptiveStep(), rate=0.3))
    other = jp.train(*ensemble, steps=20, optimizer=jp.Descent(adaptive=jp.AdaptiveStep(0.3)))
    assert_identical(one.network.k, other.network.k)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("rule", {"rule": [jp.ExactGradient()] * 2}),
        ("rule", {"rule": [jp.ExactGradient(), jp.CoupledLearning(), jp.ExactGradient()]}),
        ("optimizer", {"optimizer": [jp.Descent()] * 2}),
        ("optimizer", {"optimizer": [jp.Descent(), jp.Descent(), jp.LevenbergMarquardt()]}),
        ("optimizer", {"optimizer": [jp.Descent(), jp.Descent(), jp.Descent(optax.sgd(0.1))]}),
    ],
)
def test_rules_and_rates_that_do_not_fit_are_refused(name, settings, ensemble):
    assert_refused(name, jp.train, *ensemble, steps=1, **settings)
