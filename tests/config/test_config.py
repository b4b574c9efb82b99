"""Configs: every key known and documented, every value of the right type, every kind built."""

import dataclasses
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import assert_close, assert_identical

import jaxphys as jp
from jaxphys.config import (
    Batch,
    RunConfig,
    build,
    describe,
    dump_config,
    load_config,
    load_sweep,
    parse_config,
    parse_sweep,
    schema,
)
from jaxphys.training import own_bounds

# Nothing here computes in the precision of the networks.
pytestmark = pytest.mark.float64

ROOT = Path(__file__).resolve().parents[2]
SWEEP = ROOT / "examples" / "sweep.toml"
EXAMPLES = sorted(set((ROOT / "examples").glob("*.toml")) - {SWEEP})


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_survive_a_round_trip(path):
    config = load_config(path)
    assert parse_config(tomllib.loads(dump_config(config))) == config


def test_the_example_of_a_sweep_survives_a_round_trip():
    sweep = load_sweep(SWEEP)
    assert len(sweep.points) == 6
    assert parse_sweep(tomllib.loads(sweep.text(jax="1.0"))) == sweep


def test_examples_are_there():
    assert {path.stem for path in EXAMPLES} >= {"iris", "allostery", "regression"}


def test_every_key_is_documented():
    for name, table in vars(schema).items():
        if dataclasses.is_dataclass(table):
            for field in dataclasses.fields(table):
                assert field.metadata["doc"], (name, field.name)


def test_documentation_of_keys_is_up_to_date():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert describe() in page, "write the output of jaxphys.config.describe() into docs/configuration.md"


def test_overrides(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("steps = 5\n[network]\nkind = 'flow'\n")
    overrides = ["steps=7", "network.graph.nodes=12", "network.graph.edges = 20", "task.kind=allostery"]
    config = load_config(path, overrides)
    assert config.steps == 7
    assert config.network == schema.Flow(graph=schema.ErdosRenyi(nodes=12, edges=20))
    assert config.task == schema.Allostery()


@pytest.mark.parametrize(
    ("text", "saying"),
    [
        ("stepz = 3", "'stepz'; nearest known: 'steps'"),
        ("[network]\nnodez = 3", "'network.nodez'; nearest known: 'network.nodes'"),
        (
            "[network]\nkind = 'flow'\ngraph = { kind = 'erdos_reny' }",
            "`network.graph.kind` unknown name 'erdos_reny'",
        ),
        ("steps = 'many'", "`steps` must be an integer, but it is 'many'"),
        ("steps = 3.5", "`steps` must be an integer, but it is 3.5"),
        ("steps = true", "`steps` must be an integer, but it is True"),
        ("network = 3", "`network` must be a table"),
        ("[optimizer]\nrate = 'fast'", "`optimizer.rate` must be a finite number"),
        ("[optimizer]\nadaptive = 1", "`optimizer.adaptive` must be true or false"),
        ("[task]\nkind = 'allostery'\nterminals = 'corners'", "`task.terminals` must be 'nodes' or 'edges'"),
        ("[task]\nkind = 'allostery'\nsources = [0.5]", "`task.sources` must be a list"),
        ("[task]\nkind = 'regression'\nmatrix = [[1, 'a']]", "`task.matrix` must be a list"),
        ("record = ['eigenvalue']", "`record` unknown name 'eigenvalue'; nearest known: 'eigenvalues'"),
        ("steps = ", "not valid TOML"),
        ("precision = 'double'", "`precision` must be 'float64' or 'float32'"),
    ],
)
def test_wrong_configs_get_one_sentence(text, saying, tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(jp.InputError) as caught:
        load_config(path)
    assert str(caught.value).startswith(str(path))
    assert saying in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", ["steps", "=3", "steps.x=3", ".=1"])
def test_wrong_overrides_are_named(override, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("steps = 5\n")
    with pytest.raises(jp.InputError, match="--set"):
        load_config(path, [override])


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(jp.InputError, match=r"nowhere\.toml: cannot be read"):
        load_config(tmp_path / "nowhere.toml")
    (tmp_path / "junk.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(jp.InputError, match=r"junk\.toml: cannot be read"):
        load_config(tmp_path / "junk.toml")


NETWORKS = {
    "node": {"kind": "node", "nodes": 8},
    "flow": {"kind": "flow", "graph": {"kind": "erdos_renyi", "nodes": 12, "edges": 20}},
    "square": {"kind": "flow", "graph": {"kind": "square_lattice", "shape": [4, 3], "periodic": True}},
    "complete": {
        "kind": "flow",
        "graph": {"kind": "complete", "nodes": 9},
        "initial": {"kind": "log_normal"},
    },
    "spring": {"kind": "spring", "graph": {"kind": "erdos_renyi", "nodes": 9, "edges": 26}},
    "space": {"kind": "spring", "graph": {"kind": "erdos_renyi", "nodes": 9, "edges": 30}, "dimension": 3},
    "vector": {
        "kind": "spring",
        "graph": {"kind": "triangular_lattice", "shape": [4, 4]},
        "initial": {"kind": "uniform"},
        "law": "vector",
    },
}
TASKS = {
    "random_linear": {"kind": "random_linear", "tasks": 2},
    "allostery": {"kind": "allostery", "tasks": 2},
    "held drops": {"kind": "allostery", "tasks": 2, "drive": "held", "terminals": "edges"},
    "edges": {"kind": "allostery", "terminals": "edges"},
    "regression": {"kind": "regression", "samples": 5, "test_samples": 4, "terminals": "edges"},
    "classification": {"kind": "classification", "terminals": "nodes", "train_per_class": 3},
}


FLOW = {"kind": "gradient_flow", "method": "dopri5"}
STEPS = {"kind": "levenberg_marquardt"}


@pytest.mark.float64  # A small network in space can be too soft for single precision.
@pytest.mark.parametrize("task", list(TASKS))
@pytest.mark.parametrize("network", list(NETWORKS))
def test_every_network_gets_every_task(network, task):
    spring = NETWORKS[network]["kind"] == "spring"
    config = parse_config({"realizations": 2, "network": NETWORKS[network], "task": TASKS[task]})
    if spring and task == "classification":
        with pytest.raises(jp.InputError, match="directions"):
            build(config)
        return
    if task == "edges" and network == "space":
        config = dataclasses.replace(config, realizations=1)
    ensemble = build(config)
    estimate = jax.vmap(jp.ExactGradient())(ensemble.network, ensemble.task)
    assert estimate.gradient.shape == ensemble.network.k.shape
    assert np.isfinite(estimate.gradient).all()
    assert np.asarray(estimate.status).tolist() == [0] * config.realizations


def test_realizations_differ_and_the_seed_fixes_them():
    config = parse_config({"realizations": 3, "network": NETWORKS["flow"], "task": TASKS["allostery"]})
    first, again = build(config), build(config)
    for a, b in zip(jax.tree.leaves(first.task), jax.tree.leaves(again.task), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.task.force[0], first.task.force[1])
    other = build(dataclasses.replace(config, seed=1))
    assert not np.array_equal(first.task.force, other.task.force)


def test_training_and_test_samples_of_iris_are_disjoint():
    ensemble = build(parse_config({"realizations": 2, "task": {"kind": "classification"}}))
    assert ensemble.task.inputs.shape == (2, 30, 4)
    assert ensemble.test.inputs.shape == (2, 120, 4)
    for train, test in zip(np.asarray(ensemble.task.targets), np.asarray(ensemble.test.targets), strict=True):
        assert train.sum(axis=0).tolist() == [10, 10, 10]
        assert test.sum(axis=0).tolist() == [40, 40, 40]
    everything = np.concatenate([ensemble.task.inputs[0], ensemble.test.inputs[0]])
    features, _, _ = __import__("jaxphys.data", fromlist=["iris"]).iris()
    np.testing.assert_allclose(np.sort(everything, axis=0), np.sort(features, axis=0), rtol=1e-6)


def test_named_terminals_are_used():
    task = {"kind": "allostery", "sources": [3], "targets": [[5, 6]], "ground": [0], "response": 0.25}
    ensemble = build(parse_config({"realizations": 1, "network": NETWORKS["flow"], "task": task}))
    assert np.flatnonzero(ensemble.task.force[0, 0]).tolist() == [3]
    assert ensemble.task.readout[0, 0, 5:7].tolist() == [1.0, -1.0]
    assert ensemble.task.boundary.rows[0].tolist() == [[1.0] + [0.0] * 11]
    assert ensemble.task.targets.tolist() == [[[0.25]]]


def test_graphs_and_values_from_a_file(tmp_path):
    path = tmp_path / "edges.csv"
    path.write_text("source,target,k\na,b,1.5\nb,c,2.5\nc,a,3.5\n")
    network = {"kind": "flow", "graph": {"kind": "file", "path": str(path)}, "initial": {"kind": "file"}}
    table = {"realizations": 2, "network": network, "task": {"kind": "allostery"}}
    assert build(parse_config(table)).network.k.tolist() == [[1.5, 2.5, 3.5]] * 2
    # What a file says is not dropped in silence: only another value takes its place.
    del network["initial"]
    assert build(parse_config(table)).network.k.tolist() == [[1.5, 2.5, 3.5]] * 2
    network["initial"] = {"value": 1.0}
    assert build(parse_config(table)).network.k.tolist() == [[1.0, 1.0, 1.0]] * 2


def from_file(tmp_path, text, **task):
    path = tmp_path / "edges.csv"
    path.write_text(text)
    network = {"kind": "flow", "graph": {"kind": "file", "path": str(path)}, "initial": {"kind": "file"}}
    return build(
        parse_config(
            {"realizations": 2, "network": network, "task": {"kind": "allostery", "tasks": 1, **task}}
        )
    )


def test_nodes_of_a_file_by_name(tmp_path):
    text = "source,target,k\nin A,b,1.5\nb,c,2.5\nc,in A,3.5\nc,d,1\n"
    ensemble = from_file(tmp_path, text, sources=["in A"], targets=[["c", "b"]], ground=["d"])
    assert ensemble.network.names == ("in A", "b", "c", "d")
    assert ensemble.task.force[0].tolist() == [[1.0, 0.0, 0.0, 0.0]]
    assert ensemble.task.readout[0].tolist() == [[0.0, -1.0, 1.0, 0.0]]
    assert ensemble.task.boundary.rows[0].tolist() == [[0.0, 0.0, 0.0, 1.0]]
    with pytest.raises(jp.InputError, match=r"`task.sources` must name nodes .* nearest is 'in A'"):
        from_file(tmp_path, text, sources=["in B"])


def test_a_number_that_names_another_node_is_not_guessed_at(tmp_path):
    text = "source,target,k\n2,1,1.5\n1,3,2.5\n3,2,3.5\n"
    assert from_file(tmp_path, text, ground=["1"]).task.boundary.rows[0].tolist() == [[0.0, 1.0, 0.0]]
    for node in (2, [1, 3]):
        with pytest.raises(jp.InputError, match=r"say which node . is, .* in quotes"):
            from_file(tmp_path, text, sources=[node])
    # At its own place a number is clear.
    text = "source,target,k\na,1,1.5\n1,3,2.5\n3,a,3.5\n"
    assert from_file(tmp_path, text, ground=[1]).task.boundary.rows[0].tolist() == [[0.0, 1.0, 0.0]]


@pytest.mark.parametrize(
    ("table", "saying"),
    [
        ({"realizations": 0}, "`realizations` must lie between 1"),
        ({"steps": 0}, "`steps` must lie between 1"),
        ({"batch_size": 2}, "`batch_size` must lie between 1 and 1"),
        ({"rule": {"kind": "coupled_learning", "nudge": 0.0}}, "`nudge` must be positive"),
        ({"rule": {"kind": "equilibrium_propagation", "nudge": -1.0}}, "`nudge` must be positive"),
        ({"task": {"kind": "random_linear", "tasks": 0}}, "`task.tasks` must lie between 1"),
        ({"task": {"kind": "allostery", "tasks": 0}}, "`task.tasks` must lie between 1"),
        ({"network": {"kind": "flow", "initial": {"value": 0.0}}}, "`k` must be positive"),
        (
            {"network": {"kind": "flow", "initial": {"value": float("nan")}}},
            "`network.initial.value` must be a finite",
        ),
        ({"record": ["susceptibilities"]}, "`record` unknown name"),
        ({"network": {"kind": ["flow"]}}, "`network.kind` unknown name"),
        ({"seed": 10**23}, "`seed` must be an integer"),
        ({"network": {"kind": "flow", "graph": {"edges": 20}}}, "`num_edges` must lie between 39"),
        ({"network": {"kind": "spring", "graph": {"edges": 60}}}, "`num_edges` must be at least 77"),
        ({"network": {"kind": "spring", "graph": {"kind": "square_lattice"}}}, "be rigid"),
        ({"network": {"kind": "spring", "graph": {"kind": "complete"}}}, "have positions"),
        ({"task": {"kind": "allostery", "sources": [99]}}, "`task.sources` must name nodes between 0 and 19"),
        ({"task": {"kind": "allostery", "sources": [1, 2]}}, "`task.sources` must be empty or name 1"),
        ({"task": {"kind": "allostery", "drive": "held", "sources": [1], "targets": [1]}}, "also held"),
        ({"task": {"kind": "classification", "train_per_class": 50}}, "`task.train_per_class`"),
        ({"optimizer": {"kind": "adam", "adaptive": True}}, "`optimizer.adaptive`"),
        ({"optimizer": {"rate": 0.0}}, "`optimizer.rate`"),
        ({"integrator": FLOW, "optimizer": {"kind": "adam"}}, "`optimizer.kind` must be sgd"),
        ({"integrator": FLOW, "optimizer": {"noise": 0.1}}, "`optimizer.noise` must be 0.0"),
        ({"integrator": FLOW, "optimizer": {"participation": 0.1}}, "`optimizer.participation` must be 1.0"),
        ({"integrator": FLOW, "batch_size": 1}, "`batch_size` must be left out"),
        ({"integrator": {**FLOW, "relative_tolerance": 0.0}}, "`relative_tolerance` must be positive"),
        ({"integrator": STEPS, "optimizer": {"rate": 0.5}}, "`optimizer.rate` must be 1.0"),
        ({"integrator": STEPS, "batch_size": 1}, "`batch_size` must be left out beside Gauss-Newton"),
        ({"integrator": STEPS, "rule": {"kind": "coupled_learning"}}, "`rule.kind` must be exact_gradient"),
        ({"integrator": STEPS, "task": {"kind": "classification"}}, "`task` must have a `SquaredError`"),
        ({"integrator": {**STEPS, "shrink": 2.0}}, "`shrink` must lie between 0 and 1"),
        ({"optimizer": {"lower": 2.0, "upper": 1.0}}, "`lower`"),
        (
            {"network": {"nodes": 3}, "task": {"kind": "classification"}},
            "`task.sources` must find 4 free nodes",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(table, saying):
    with pytest.raises(jp.InputError) as caught:
        build(parse_config({"realizations": 1, **table}))
    assert saying in str(caught.value)


@pytest.mark.parametrize("network", ["node", "flow"])
def test_a_gradient_flow_takes_rate_metric_and_bounds_from_the_optimizer(network):
    tables = {"integrator": FLOW, "optimizer": {"rate": 0.25, "upper": 50.0}, "network": NETWORKS[network]}
    arguments = build(parse_config({"realizations": 1, "steps": 7, **tables})).arguments
    flow = arguments["optimizer"]
    assert (flow.rate, flow.method, arguments["bounds"]) == (0.25, "dopri5", (None, 50.0))
    assert (flow.metric is None) == (network == "flow")


def test_gauss_newton_steps_take_metric_and_bounds_from_the_optimizer():
    tables = {"integrator": {**STEPS, "damping": 0.1}, "optimizer": {"upper": 50.0}, "record": []}
    ensemble = build(parse_config({"realizations": 2, "steps": 7, **tables}))
    steps = ensemble.arguments["optimizer"]
    assert (steps.damping, ensemble.arguments["bounds"]) == (0.1, (None, 50.0))
    assert set(steps.metric.tolist()) == {0.5, 1.0}
    run = jp.train(ensemble.network, ensemble.task, **ensemble.arguments)
    assert (run.cost[:, -1] < 0.1 * run.cost[:, 0]).all()


@pytest.mark.parametrize("optimizer", [{}, {"lower": 0.25, "upper": 8.0}])
def test_a_config_keeps_the_same_bounds_as_python(optimizer):
    """1e-6 of the mean of each network's own start, unless the config says otherwise."""
    initial = {"kind": "uniform", "low": 0.5, "high": 7.5}
    table = {"network": {"kind": "flow", "initial": initial}, "optimizer": optimizer, "realizations": 3}
    (drawn, _), ensemble = Batch([parse_config(table)]).draw(0, 3), build(parse_config(table))
    expected = own_bounds((optimizer["lower"], 8.0) if optimizer else "automatic", ensemble.network)
    assert_identical(drawn.bounds, expected)
    floor = 1e-6 * np.asarray(drawn.network.k).mean(axis=1)
    assert_close(drawn.bounds.lower, floor if not optimizer else np.full(3, 0.25), relative=1e-14)
    assert (drawn.bounds.upper is None) == (not optimizer)
    with pytest.raises(jp.InputError, match="start within the bound 1"):
        build(parse_config({**table, "optimizer": {"lower": 1.0}}))


def test_defaults_are_a_run():
    assert parse_config({}) == RunConfig()


@pytest.mark.parametrize(
    ("name", "solver"),
    [
        ("auto", "Dense"),
        ("dense", "Dense"),
        ("bordered_lu", "BorderedLU"),
        ("star_mesh", "StarMesh"),
        ("sparse_cholesky", "SparseCholesky"),
    ],
)
def test_solvers_by_name(name, solver):
    ensemble = build(parse_config({**SMALL_FLOW, "solver": name}))
    assert type(ensemble.arguments["solver"]).__name__ == solver


def test_tracked_inverse_by_name():
    solver = {"solver": "tracked_inverse", "realizations": 2}
    assert isinstance(build(parse_config(solver)).arguments["solver"], jp.TrackedInverse)
    with pytest.raises(jp.InputError, match="fit the network"):
        build(parse_config({**SMALL_FLOW, **solver}))


def test_realizations_share_a_packing():
    graph = {"kind": "jammed_packing", "particles": 40}
    ensemble = build(parse_config({**SMALL_FLOW, "network": {"kind": "flow", "graph": graph}}))
    edges = np.asarray(ensemble.network.topology.edges)
    assert (edges[0] == edges[1]).all()
    assert ensemble.network.num_nodes < 40


def test_elimination_wants_a_flow_network():
    with pytest.raises(jp.InputError, match="be a flow network"):
        build(parse_config({"solver": "star_mesh", "realizations": 2}))


SMALL_FLOW = {
    "realizations": 2,
    "network": {"kind": "flow", "graph": {"nodes": 8, "edges": 12}},
    "task": {"kind": "allostery"},
}


@pytest.mark.parametrize(
    ("name", "override"),
    [
        ("realizations", "realizations=4611686018427387904"),
        ("realizations", "realizations=0"),
        ("steps", "steps=4611686018427387904"),
        ("record_every", "steps=2147483647 record_every=1"),
        ("network.nodes", "network.nodes=1099511627776"),
        ("network.graph.nodes", "network.kind=flow network.graph.nodes=1099511627776"),
        ("network.graph.edges", "network.kind=flow network.graph.edges=1099511627776"),
        ("network.graph.nodes", "network.kind=flow network.graph.kind=complete network.graph.nodes=1000000"),
        (
            "network.graph.shape",
            "network.kind=flow network.graph.kind=square_lattice network.graph.shape=[1000000,1000000]",
        ),
        (
            "network.graph.shape",
            "network.kind=flow network.graph.kind=triangular_lattice network.graph.shape=[-1000000,1000000]",
        ),
        (
            "network.graph.particles",
            "network.kind=flow network.graph.kind=jammed_packing network.graph.particles=1000000",
        ),
        ("task.tasks", "task.tasks=1099511627776"),
        ("task.tasks", "task.kind=allostery task.tasks=0"),
        ("task.samples", "task.kind=regression task.samples=1099511627776"),
        ("task.test_samples", "task.kind=regression task.test_samples=1099511627776"),
    ],
)
def test_sizes_that_nobody_can_mean_are_refused_before_anything_is_drawn(name, override, tmp_path):
    """Drawing them took all memory, or went on for ever."""
    path = tmp_path / "large.toml"
    path.write_text("")
    with pytest.raises(jp.InputError, match=f"`{name}` must"):
        build(load_config(path, override.split()))


def test_long_values_are_shown_shortened(tmp_path):
    path = tmp_path / "long.toml"
    for text in (f"steps = '{'a' * 10_000}'", f"network = [{'1,' * 10_000}]", f"{'a' * 10_000} = 1"):
        path.write_text(text)
        with pytest.raises(jp.InputError) as caught:
            load_config(path)
        assert len(str(caught.value)) < len(str(path)) + 300
        assert str(caught.value).isprintable()


def test_a_spread_beyond_all_numbers_is_refused_without_a_warning():
    graph = {"kind": "complete", "nodes": 4}
    network = {"kind": "flow", "graph": graph, "initial": {"kind": "log_normal", "spread": 1e299}}
    with pytest.raises(jp.InputError, match="`k` must be positive and finite"):
        build(parse_config({"realizations": 1, "network": network}))


HUGE = "9" * 5000
DEEP = "[" * 100_000


@pytest.mark.parametrize("text", [f"steps = {HUGE}", f"steps = {DEEP}"], ids=["huge", "deep"])
def test_what_python_refuses_to_parse_is_one_sentence(text, tmp_path):
    """Not a traceback from inside the parser."""
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(jp.InputError, match="not valid TOML") as caught:
        load_config(path)
    assert str(caught.value).isprintable()
    path.write_text("")
    with pytest.raises(jp.InputError, match="`steps` must be an integer") as caught:
        load_config(path, [text.replace(" ", "")])
    assert len(str(caught.value)) < len(str(path)) + 300


@pytest.mark.parametrize("override", ["st\neps", "steps.x\n=3", "s" * 10_000])
def test_complaints_about_overrides_stay_on_one_line(override, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("steps = 5\n")
    with pytest.raises(jp.InputError, match="--set") as caught:
        load_config(path, [override])
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "content",
    [f'x,y\n"{"a" * 140_000}",b\n', "", "x,y\n1\n", "x,y\none,b\n", b"x,y\n\xff,b\n", "x,y\n\0,b\n"],
    ids=["long field", "empty", "short line", "no number", "no text", "NUL"],
)
def test_broken_tables_of_samples_are_refused(content, tmp_path):
    path = tmp_path / "samples.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    task = {"kind": "classification", "data": str(path), "train_per_class": 1}
    network = {"kind": "node", "nodes": 8}
    with pytest.raises(jp.InputError, match=r"samples\.csv: it cannot be read") as caught:
        build(parse_config({"realizations": 1, "network": network, "task": task}))
    assert str(caught.value).isprintable()
