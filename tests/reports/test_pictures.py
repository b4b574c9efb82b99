"""What pictures share: scales of values, places of nodes, ticks that can be read."""

import numpy as np
import pytest
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from jaxphys.reports.pictures import Scale, draw_edges, drawing, line_widths, symmetric
from jaxphys.reports.style import styled, tick_text

# Nothing here computes in the precision of the networks.
pytestmark = pytest.mark.float64


def ticks(values, scale="log"):
    """Labels that are written along y where these values are drawn, and places that have one."""

    @styled
    def draw():
        figure = Figure()
        axes = figure.subplots()
        axes.plot(values)
        axes.set_yscale(scale)
        return figure

    figure = draw()
    figure.draw_without_rendering()
    axes = figure.axes[0]
    low, high = axes.get_ylim()
    labelled = zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    return [text.get_text() for place, text in labelled if low <= place <= high and text.get_text()]


@pytest.mark.parametrize("values", [[0.3, 0.8], [6.0, 90.0], [0.9, 1.02], [2.0, 4.0]])
def test_a_logarithmic_axis_over_few_decades_has_plain_numbers(values):
    found = ticks(values)
    assert len(found) >= 2
    assert all(min(values) / 3 < float(text) < 3 * max(values) for text in found)


def test_a_logarithmic_axis_over_many_decades_has_powers_of_ten():
    found = ticks([1e-9, 1.0])
    assert len(found) >= 3
    assert all("10^" in text for text in found)


def test_numbers_on_an_axis():
    assert [tick_text(value) for value in (0.25, 1.0, 5000.0, 2e4, 1e6, -3.0)] == [
        "0.25",
        "1",
        "5000",
        "2×10⁴",
        "10⁶",
        "−3",
    ]


def test_a_scale_is_logarithmic_where_few_values_are_large():
    even, uneven = np.linspace(1.0, 3.0, 9), np.array([1e-5, 1.0, 1.0, 1.0, 100.0])
    assert not Scale(even).is_logarithmic
    scale = Scale(uneven)
    assert isinstance(scale.norm, LogNorm)
    assert (scale.norm.vmin, scale.norm.vmax, scale.extend) == (1e-2, 100.0, "min")
    np.testing.assert_allclose(scale.strength(uneven), [0, 0.5, 0.5, 0.5, 1])
    # Those that are judged decide, and not all that the scale is for.
    assert not Scale(uneven, judged=np.array([90.0, 100.0])).is_logarithmic
    # What is 0 but for rounding says nothing about the range.
    assert Scale(np.array([1e-12, 1.0, 1.0, 10.0]), decades=20).norm.vmin == 1.0


def test_a_scale_with_both_signs_is_as_strong_either_way():
    scale = Scale(np.array([-2.0, 1.0, np.nan]))
    assert scale.is_signed
    np.testing.assert_allclose(scale.strength(np.array([-2.0, 0.0, 1.0, np.nan])), [1, 0, 0.5, 0])
    beyond = Scale(np.array([-2.0, 1.0]), largest=1.0)
    assert beyond.extend == "min"


def test_values_without_a_number_have_no_colour():
    place = drawing(np.array([[0, 1], [1, 2]]), 3, positions=np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]))
    values = np.array([np.nan, 2.0])
    lines = draw_edges(Figure().subplots(), place, values, Scale(values))
    assert np.ma.getmaskarray(lines.get_array()).tolist() == [True, False]
    assert lines.get_linewidths()[0] < lines.get_linewidths()[1]


def test_a_flat_solid_is_seen_from_its_flat_side():
    generator = np.random.default_rng(0)
    flat = generator.random((30, 2))
    turn = np.linalg.qr(generator.standard_normal((3, 3)))[0]
    solid = np.column_stack([flat, 1e-3 * generator.random(30)]) @ turn
    seen = drawing(np.array([[0, 1]]), 30, positions=solid)
    distances = [np.linalg.norm(each[:, None] - each[None], axis=-1) for each in (flat, seen.places)]
    np.testing.assert_allclose(*distances, atol=2e-3)
    assert "thinnest" in seen.remark


def test_layers_of_a_cube_do_not_hide_one_another():
    cube = np.stack(np.meshgrid(*[np.arange(3.0)] * 3), axis=-1).reshape(-1, 3)
    seen = drawing(np.array([[0, 1]]), 27, positions=cube)
    apart = np.linalg.norm(seen.places[:, None] - seen.places[None], axis=-1) + 9 * np.eye(27)
    assert apart.min() > 0.2


def test_lines_are_shorter_than_wide_in_no_network():
    places = np.stack(np.meshgrid(np.arange(20.0), np.arange(20.0)), axis=-1).reshape(-1, 2)
    rows = np.arange(400).reshape(20, 20)
    place = drawing(np.stack([rows[:, :-1].ravel(), rows[:, 1:].ravel()], axis=1), 400, positions=places)
    # One strong edge among weak ones.
    least, most = line_widths(place, np.eye(1, 380)[0], panel=190.0)
    assert least + most < 10 / 2


def test_a_matrix_between_nodes_is_symmetric():
    matrix = symmetric(np.array([[0, 0], [0, 2]]), np.array([3.0, 4.0]), 3)
    assert matrix.tolist() == [[3, 0, 4], [0, 0, 0], [4, 0, 0]]
