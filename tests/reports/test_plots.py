"""The pictures show the numbers that the dataset holds, and nothing of realizations that failed."""

import io

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.collections import LineCollection, PathCollection, PolyCollection

import jaxphys as jp
from jaxphys.diagnostics import FUNCTIONALS
from jaxphys.io import run_dataset, typical_realization
from jaxphys.reports import pictures, run_plots, style

# Nothing here computes in the precision of the networks.
# On some of the random graphs the target lies behind the ground.
pytestmark = [pytest.mark.float64, pytest.mark.filterwarnings("ignore:Targets lie")]

RECORDED = ("eigenvalues", "effective_conductance", "effective_dimension")
CURVES = (
    run_plots.learning_curves,
    run_plots.spectrum_change,
    run_plots.eigenvalue_flow,
    run_plots.conductance_and_dimension,
)
PICTURES = (*CURVES, run_plots.accuracy_distribution, run_plots.network_map)


def untrained(network, task):
    """The dataset of a run of one realization that did not need to compile: `k` just doubled."""
    network, task = jp.stack([network]), jp.stack([task])
    doubled = jax.vmap(lambda one: one.with_k(2 * one.k))(network)
    steps, cost, status = np.array([0, 10]), np.array([[1.0, 0.1]]), np.zeros(1, int)
    return run_dataset(jp.Run(doubled, task, network.k, steps, cost, {}, status, (0.0, 0.0)))


@pytest.fixture(scope="module")
def flow():
    """Five random flow networks, grounded at node 0, driven at 1, read out at 5; with made-up accuracies."""
    networks = [jp.FlowNetwork(jp.erdos_renyi(8, 12, jax.random.key(i)), k=2.0) for i in range(5)]
    tasks = [jp.allostery(n, jp.Boundary(n, ground=[0]), [1], [5], response=0.3) for n in networks]
    accuracies = {"train_accuracy": [1.0, 1.0, 0.5, 0.75, 1.0], "test_accuracy": [0.9, 0.8, 0.5, 0.7, 0.6]}
    run = jp.train(
        jp.stack(networks),
        jp.stack(tasks),
        steps=20,
        optimizer=jp.Descent(adaptive=jp.AdaptiveStep()),
        record=jp.Record(every=4, functionals={"eigenvalues": FUNCTIONALS["eigenvalues"]}),
    )
    dataset = run_dataset(run, **accuracies)
    # Recorded like the eigenvalues, but not compiled: any numbers with the right axes will do.
    dataset["effective_conductance"] = np.sqrt((dataset["eigenvalues"] ** -2).mean("mode"))
    dataset["effective_dimension"] = dataset["eigenvalues"].sum("mode") ** 2
    return dataset


@pytest.fixture(scope="module")
def springs():
    """A rigid triangle of springs and a fourth node, forced along y at node 1, read out along x at node 3."""
    topology = jp.from_edges(
        [(0, 1), (1, 2), (2, 0), (0, 3), (1, 3)], positions=[[0.0, 0.0], [1.0, 0.0], [0.5, 1.0], [0.6, -1.0]]
    )
    network = jp.SpringNetwork(topology)
    task = jp.allostery(
        network,
        jp.Boundary(network, free_modes="project"),
        [1],
        [3],
        response=0.3,
        source_directions=np.array([[0.0, 1.0]]),
        target_directions=np.array([[1.0, 0.0]]),
    )
    return untrained(network, task)


@pytest.fixture(scope="module")
def periodic():
    """A 4 by 4 square lattice on a torus: drop 0-5 held, node 15 grounded, 10 read out."""
    network = jp.FlowNetwork(jp.square_lattice((4, 4), periodic=True))
    boundary = jp.Boundary(network, held_drops=[(0, 5)], ground=[15])
    return untrained(network, jp.allostery(network, boundary, [], [10], response=0.1))


@pytest.fixture(scope="module")
def nodes():
    """A fully connected network of four nodes on a random linear task, which drives and reads all of them."""
    network = jp.NodeNetwork.from_matrix(jnp.diag(jnp.array([4.0, 5.0, 6.0, 7.0])))
    return untrained(network, jp.random_linear(network, 1, jax.random.key(0)))


@pytest.fixture(scope="module")
def spoilt(flow):
    """The flow networks, with realizations 1 and 3 failed and full of numbers that must not be seen."""
    dataset = flow.copy(deep=True)
    dataset["status"].values[[1, 3]] = [jp.Status.NOT_FINITE, jp.Status.NOT_POSITIVE_DEFINITE]
    for name in ("cost", *RECORDED, "train_accuracy", "test_accuracy"):
        dataset[name].values[1] = np.nan
        dataset[name].values[3] = 1e9
    return dataset


def line(figure, label):
    """The one line with this label, as `(x, y)`."""
    found = [drawn for drawn in figure.axes[0].lines if drawn.get_label() == label]
    assert len(found) == 1, f"{len(found)} lines are labelled {label}"
    return found[0].get_data()


def band(figure, number=0):
    """Lower and upper edge of a shaded band at each of its abscissas."""
    polygons = [drawn for drawn in figure.axes[0].collections if isinstance(drawn, PolyCollection)]
    vertices = polygons[number].get_paths()[0].vertices
    x = np.unique(vertices[:, 0])
    edges = [vertices[vertices[:, 0] == place, 1] for place in x]
    return np.array([values.min() for values in edges]), np.array([values.max() for values in edges])


def edges_drawn(figure, panel=0):
    return next(drawn for drawn in figure.axes[panel].collections if isinstance(drawn, LineCollection))


def marked(figure, role, panel=0):
    """Places of the nodes that are marked with a role; None if none is."""
    marks = [drawn for drawn in figure.axes[panel].collections if isinstance(drawn, PathCollection)]
    found = [drawn for drawn in marks if drawn.get_label() == role]
    return found[0].get_offsets() if found else None


def render(figure):
    """Draw it for real, so that whatever matplotlib warns of becomes an error."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=30)
    assert buffer.getvalue().startswith(b"\x89PNG")


@pytest.mark.parametrize("draw", PICTURES)
def test_pictures_render_and_leave_matplotlib_as_it_was(draw, flow):
    before = dict(matplotlib.rcParams)
    render(draw(flow))
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize("draw", PICTURES)
def test_pictures_of_one_realization_have_no_band(draw, flow):
    figure = draw(flow.isel(realization=[2]))
    assert not any(isinstance(drawn, PolyCollection) for drawn in figure.axes[0].collections)
    render(figure)


def test_learning_curves_show_median_quantiles_and_single_realizations(flow):
    figure = run_plots.learning_curves(flow, examples=3)
    cost = flow["cost"].values
    np.testing.assert_array_equal(line(figure, "median"), [flow["step"].values, np.median(cost, axis=0)])
    np.testing.assert_allclose(band(figure), np.quantile(cost, [0.1, 0.9], axis=0), rtol=1e-12)
    single = [drawn.get_ydata() for drawn in figure.axes[0].lines if drawn.get_linewidth() < 1]
    np.testing.assert_array_equal(single, cost[[0, 2, 4]])
    assert figure.axes[0].get_yscale() == "log"


def test_learning_curves_with_zeros_keep_a_finite_axis(flow):
    dataset = flow.copy(deep=True)
    dataset["cost"].values[:3, -2:] = 0.0
    figure = run_plots.learning_curves(dataset)
    assert line(figure, "median")[1][-1] == 0
    low, high = figure.axes[0].get_ylim()
    assert 0 < low < high < np.inf
    render(figure)
    dataset["cost"].values[:] = 0.0
    figure = run_plots.learning_curves(dataset)
    assert figure.axes[0].get_yscale() == "linear"
    render(figure)


def test_single_missing_numbers_are_skipped(flow):
    dataset = flow.copy(deep=True)
    dataset["cost"].values[0, 2] = np.nan
    dataset["cost"].values[:, 3] = np.inf
    median = line(run_plots.learning_curves(dataset), "median")[1]
    np.testing.assert_allclose(median[2], np.median(flow["cost"].values[1:, 2]), rtol=1e-6)
    assert np.isnan(median[3])
    render(run_plots.learning_curves(dataset))


def test_spectrum_change_shows_first_and_last_record(flow):
    figure = run_plots.spectrum_change(flow)
    eigenvalues = flow["eigenvalues"].values
    for number, (label, record) in enumerate((("before learning", 0), ("after learning", -1))):
        mode, median = line(figure, label)
        np.testing.assert_array_equal(mode, [1, 2, 3, 4, 5, 6, 7])
        np.testing.assert_array_equal(median, np.median(eigenvalues[:, record], axis=0))
        expected = np.quantile(eigenvalues[:, record], [0.1, 0.9], axis=0)
        np.testing.assert_allclose(band(figure, number), expected, rtol=1e-12)
    assert figure.axes[0].get_yscale() == "log"


def test_spectrum_with_a_negative_eigenvalue_is_linear(flow):
    dataset = flow.copy(deep=True)
    dataset["eigenvalues"].values[0, -1, 0] = -0.1
    for draw in (run_plots.spectrum_change, run_plots.eigenvalue_flow):
        assert draw(dataset).axes[0].get_yscale() == "linear"


def test_eigenvalue_flow_draws_every_mode_and_the_softest_in_front(flow):
    figure = run_plots.eigenvalue_flow(flow)
    median = np.median(flow["eigenvalues"].values, axis=0)
    curves = np.array([curve[:, 1] for curve in edges_drawn(figure).get_segments()])
    np.testing.assert_array_equal(curves, median.T)
    np.testing.assert_array_equal(line(figure, "softest mode")[1], median[:, 0])


def test_conductance_and_dimension_are_relative_to_each_start(flow):
    figure = run_plots.conductance_and_dimension(flow)
    for name in ("effective_conductance", "effective_dimension"):
        values = flow[name].values
        expected = np.median(values / values[:, :1], axis=0)
        np.testing.assert_allclose(line(figure, name.replace("_", " "))[1], expected, rtol=1e-12)
    alone = run_plots.conductance_and_dimension(flow.drop_vars("effective_dimension"))
    assert [text.get_text() for text in alone.legends[0].get_texts()] == ["effective conductance"]


def test_accuracy_shows_every_realization_and_the_mean(flow):
    figure = run_plots.accuracy_distribution(flow)
    test, training = (drawn.get_offsets() for drawn in figure.axes[0].collections)
    np.testing.assert_allclose(np.sort(test[:, 0]), [0.5, 0.6, 0.7, 0.8, 0.9])
    np.testing.assert_allclose(np.sort(training[:, 0]), [0.5, 0.75, 1, 1, 1])
    assert len(np.unique(training, axis=0)) == 5, "dots of equal accuracy must not hide one another"
    means = sorted(drawn.get_xdata()[0] for drawn in figure.axes[0].lines)
    np.testing.assert_allclose(means, [0.7, 0.85])


@pytest.mark.parametrize("draw", [*CURVES, run_plots.accuracy_distribution])
def test_failed_realizations_are_left_out_and_counted(draw, flow, spoilt):
    figure, expected = draw(spoilt), draw(flow.isel(realization=[0, 2, 4]))
    assert "3 realizations" in figure.axes[0].get_title(loc="left")
    assert "2 failed" in figure.axes[0].get_title(loc="left")
    assert len(figure.axes[0].lines) == len(expected.axes[0].lines) > 0
    for drawn, wanted in zip(figure.axes[0].lines, expected.axes[0].lines, strict=True):
        np.testing.assert_array_equal(drawn.get_xydata(), wanted.get_xydata())
    render(figure)


def test_the_map_draws_the_realization_of_median_cost(flow, spoilt):
    final = spoilt["cost"].values[[0, 2, 4], -1]
    chosen = typical_realization(spoilt)
    assert chosen == [0, 2, 4][int(np.argsort(final)[1])]
    figure = run_plots.network_map(spoilt)
    for panel, name in enumerate(("k_initial", "k")):
        values = np.sort(flow[name].values[chosen])
        np.testing.assert_allclose(np.sort(edges_drawn(figure, panel).get_array()), values)
        assert len(edges_drawn(figure, panel).get_segments()) == 12


def test_the_map_marks_what_nodes_do(flow):
    figure = run_plots.network_map(flow, 3)
    everyone = marked(figure, "node")
    assert len(everyone) == 8
    for role, node in (("grounded", 0), ("driven", 1), ("read out", 5)):
        for panel in (0, 1):
            np.testing.assert_array_equal(marked(figure, role, panel), everyone[[node]])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["grounded", "driven", "read out"]


def test_equal_calls_lay_the_network_out_equally(flow):
    first, second = (marked(run_plots.network_map(flow, 1), "node") for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_spring_coordinates_belong_to_their_nodes(springs):
    figure = run_plots.network_map(springs)
    places = springs["positions"].values
    np.testing.assert_allclose(marked(figure, "driven"), places[[1]])
    np.testing.assert_allclose(marked(figure, "read out"), places[[3]])
    # Rows that project out rigid motions reach over all nodes, but ground none.
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["driven", "read out"]


def test_bonds_through_the_box_are_two_halves(periodic):
    figure = run_plots.network_map(periodic)
    segments = np.array(edges_drawn(figure).get_segments())
    # 32 bonds, of which 4 + 4 go through a side of the box.
    assert len(segments) == 32 + 8
    lengths = np.sort(np.linalg.norm(segments[:, 1] - segments[:, 0], axis=1))
    np.testing.assert_allclose(lengths, [0.5] * 16 + [1.0] * 24, rtol=1e-6)
    places = periodic["positions"].values
    np.testing.assert_allclose(marked(figure, "driven"), places[[0, 5]])
    np.testing.assert_allclose(marked(figure, "grounded"), places[[15]])
    render(figure)


def test_node_networks_are_drawn_without_self_couplings_and_with_both_signs(nodes):
    figure = run_plots.network_map(nodes)
    lines = edges_drawn(figure, 1)
    assert len(lines.get_segments()) == 4 * 3 // 2
    assert lines.norm.vmin == -lines.norm.vmax < 0
    assert marked(figure, "driven") is None, "a mark on every node says nothing"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["driven: all nodes", "read out: all nodes"]
    render(figure)


def test_padding_is_not_drawn(flow):
    dataset = flow.copy(deep=True)
    dataset["edges"].values[2, -1] = 0
    assert len(edges_drawn(run_plots.network_map(dataset, 2)).get_segments()) == 11


def test_a_wide_range_of_k_is_logarithmic_and_zero_is_drawn(flow):
    dataset = flow.copy(deep=True)
    dataset["k"].values[0] = np.geomspace(1e-3, 1e3, 12)
    dataset["k"].values[0, 4] = 0.0
    figure = run_plots.network_map(dataset, 0)
    lines = edges_drawn(figure, 1)
    assert isinstance(lines.norm, matplotlib.colors.LogNorm)
    assert lines.norm.vmax == 1e3
    assert len(lines.get_segments()) == 12
    assert (np.asarray(lines.get_array()) > 0).all()
    assert (np.diff(lines.get_linewidths()) >= 0).all(), "strong edges are wide and drawn last"
    render(figure)


@pytest.mark.parametrize("dimension", [1, 3])
def test_maps_of_lines_and_solids(dimension, flow):
    dataset = flow.copy(deep=True)
    dataset["positions"] = (("node", "axis"), np.random.default_rng(0).random((8, dimension)))
    figure = run_plots.network_map(dataset)
    np.testing.assert_equal(np.shape(edges_drawn(figure).get_segments()), (12, 2, 2))
    render(figure)


def test_a_network_in_pieces_is_laid_out():
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (2, 0), (3, 4)]))
    task = jp.allostery(network, jp.Boundary(network, ground=[0, 3]), [1], [2], response=0.3)
    figure = run_plots.network_map(untrained(network, task))
    assert np.isfinite(marked(figure, "node")).all()


@pytest.mark.parametrize(
    ("draw", "variable"),
    [
        (run_plots.learning_curves, "cost"),
        (run_plots.learning_curves, "status"),
        (run_plots.spectrum_change, "eigenvalues"),
        (run_plots.eigenvalue_flow, "step"),
        (run_plots.network_map, "edges"),
    ],
)
def test_a_missing_variable_is_named(draw, variable, flow):
    with pytest.raises(jp.InputError, match=f"`{variable}`"):
        draw(flow.drop_vars(variable))


def test_pictures_of_nothing_are_refused(flow):
    bare = flow.drop_vars(["effective_conductance", "effective_dimension", "train_accuracy", "test_accuracy"])
    with pytest.raises(jp.InputError, match="effective_conductance"):
        run_plots.conductance_and_dimension(bare)
    with pytest.raises(jp.InputError, match="train_accuracy"):
        run_plots.accuracy_distribution(bare)
    with pytest.raises(jp.InputError, match=r"`realization` must lie between 0 and 4"):
        run_plots.network_map(flow, 5)
    lost = flow.copy(deep=True)
    lost["status"].values[:] = jp.Status.NOT_FINITE
    for draw in set(PICTURES) - {run_plots.network_map}:
        with pytest.raises(jp.InputError, match="every one failed"):
            draw(lost)


def test_step_axis_is_logarithmic_where_learning_is_soon_over(flow):
    def scale(cost):
        dataset = flow.isel(record=[0] * 41).copy(deep=True)
        dataset["step"] = ("record", 10 * np.arange(41))
        dataset["cost"].values[:] = cost
        figure = run_plots.learning_curves(dataset)
        render(figure)
        return figure.axes[0].get_xscale()

    assert scale(np.where(np.arange(41) < 3, 1.0, 1e-20)) == "symlog"
    assert scale(np.geomspace(1, 1e-20, 41)) == "linear"
    assert scale(np.ones(41)) == "linear"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.0123, "0.0123"), (-2.5, "−2.5"), (4.56e-7, "4.56×10⁻⁷"), (-3e20, "−3×10²⁰")],
)
def test_numbers_are_written_for_readers(value, text):
    assert style.number_text(value) == text


def test_what_was_never_measured_takes_no_part_in_quantiles_and_means():
    """Infinite costs beside finite ones, a column of them, and none at all; a warning would fail the test."""
    values = np.array([[1.0, np.inf], [3.0, np.inf], [np.inf, np.nan], [2.0, -np.inf]])
    low, median, high = pictures.quantiles(values)
    assert (low[0], median[0], high[0]) == pytest.approx((1.2, 2.0, 2.8))
    assert np.isnan([low[1], median[1], high[1]]).all()
    assert pictures.mean_and_deviation(values[:, 0]) == pytest.approx((2.0, np.sqrt(2 / 3)))
    assert np.isnan(pictures.mean_and_deviation(values[:, 1])).all()
