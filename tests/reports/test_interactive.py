"""Interactive pictures: valid for plotly, with the dataset's numbers; and the page as a browser shows it."""

import json
import re

import numpy as np
import plotly.graph_objects as go
import pytest
from browser import driven, needs_chromium, opened
from helpers import assert_close
from small_runs import DRAWN

import jaxphys as jp
from jaxphys.diagnostics import FUNCTIONALS
from jaxphys.io import run_dataset
from jaxphys.reports.interactive import page_data
from jaxphys.reports.page import as_json
from jaxphys.reports.run_page import write_report

pytestmark = pytest.mark.float64

RECORDED = ("k", "eigenvalues", "effective_conductance", "effective_dimension")


@pytest.fixture(scope="module")
def dataset():
    networks, tasks = map(jp.stack, zip(*[DRAWN["floating"](number) for number in range(3)], strict=True))
    run = jp.train(
        networks,
        tasks,
        steps=40,
        optimizer=jp.Descent(adaptive=jp.AdaptiveStep()),
        record=jp.Record(every=5, functionals={name: FUNCTIONALS[name] for name in RECORDED}),
    )
    return run_dataset(run)


@pytest.fixture(scope="module")
def page(dataset, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxphys.reports.page.DPI", 20)
        return write_report(dataset, tmp_path_factory.mktemp("page"), config="seed = 0")[-1]


def test_plotly_knows_everything_in_the_figures(dataset):
    figures = page_data(dataset)["figures"]
    assert figures.keys() == {
        "learning_curves",
        "spectrum_change",
        "eigenvalue_flow",
        "conductance_and_dimension",
    }
    for figure in figures.values():
        go.Figure(figure)  # It raises on properties that plotly does not know.


def test_figures_hold_medians_and_bands(dataset):
    figures = page_data(dataset)["figures"]
    line = next(trace for trace in figures["learning_curves"]["data"] if trace.get("name") == "median")
    low, median, high = np.quantile(dataset["cost"].values, [0.1, 0.5, 0.9], axis=0)
    assert line["x"] == dataset["step"].values.tolist()
    assert_close(np.array(line["y"]), median, relative=1e-3)
    assert_close(np.array(line["customdata"]), np.column_stack([low, high]), relative=1e-3)
    modes = [trace for trace in figures["eigenvalue_flow"]["data"] if trace.get("name") == "every mode"]
    softest = np.median(dataset["eigenvalues"].values[:, :, 0], axis=0)
    assert_close(np.array(modes[0]["y"]), softest, relative=1e-3)
    assert len(modes) == dataset.sizes["mode"]
    singles = [trace for trace in figures["learning_curves"]["data"] if "single" in trace.get("name", "")]
    assert len(singles) == 3


def test_the_slider_has_every_record_and_the_map_its_frame(dataset):
    data = page_data(dataset)
    assert data["steps"] == dataset["step"].values.tolist()
    assert data["map"]["frame"] == list(range(len(data["steps"])))
    assert_close(
        np.array(data["map"]["fields"][0]["values"])[-1],
        dataset["k"].values[data["map"]["realization"]],
        relative=1e-3,
    )
    plain = page_data(dataset.drop_vars("k_history"))
    assert plain["steps"] == data["steps"]
    assert plain["map"]["frame"] == [0] * (len(data["steps"]) - 1) + [1]


def test_what_is_not_finite_is_null_and_nothing_ends_a_script(dataset):
    spoilt = dataset.copy(deep=True)
    spoilt["eigenvalues"].values[:, 1] = np.nan
    text = as_json(page_data(spoilt))
    assert None in json.loads(text)["spectrum"][1]
    assert "NaN" not in text
    assert as_json({"</script>": "&<"}) == '{"\\u003c/script\\u003e":"\\u0026\\u003c"}'


def test_a_large_network_has_no_map(dataset, monkeypatch):
    monkeypatch.setattr("jaxphys.reports.interactive.MOST_EDGES", 3)
    assert "map" not in page_data(dataset)


@needs_chromium
def test_the_page_runs_under_its_policy_without_a_word(page):
    document, console = opened(page.as_uri())
    assert console == []
    assert 'data-drawn="yes"' in document
    assert document.count('class="interactive') == 5


MOVE = """
  const time = document.getElementById("time"), field = document.getElementById("field");
  const map = document.querySelector("figure[data-name=network_map] .interactive");
  const curves = document.querySelector("figure[data-name=learning_curves] .interactive");
  const flow = document.querySelector("figure[data-name=spectrum_change] .interactive");
  const widths = () => JSON.stringify(map.data.filter((d) => d.mode === "lines").map((d) => d.x.length));
  const now = () => flow.data.at(-1).y[0];
  const seen = { last: document.getElementById("when").textContent, widths: [widths()], now: [now()] };
  seen.cursor = [curves.layout.shapes[0].x0];
  time.value = "0";
  time.dispatchEvent(new Event("input"));
  await until(() => widths() !== seen.widths[0]);
  seen.first = document.getElementById("when").textContent;
  seen.widths.push(widths());
  seen.now.push(now());
  seen.cursor.push(curves.layout.shapes[0].x0);
  field.value = "1";
  field.dispatchEvent(new Event("change"));
  await until(() => widths() !== seen.widths[1]);
  seen.widths.push(widths());
  seen.fields = [...field.options].map((option) => option.text);
  document.getElementById("play").click();
  await until(() => time.value === time.max);
  seen.played = time.value === time.max;
  return seen;
"""


@needs_chromium
def test_the_slider_moves_every_picture(page, dataset):
    seen = driven(page, MOVE)
    assert seen["last"] == "step 40 of 40"
    assert seen["first"] == "step 0 of 40"
    assert len(set(seen["widths"])) == 3
    softest = np.median(dataset["eigenvalues"].values[:, [-1, 0], 0], axis=0)
    assert_close(np.array(seen["now"]), softest, relative=1e-3)
    assert seen["cursor"][0] == 40
    assert seen["cursor"][1] in (0, 1)
    assert seen["fields"] == ["conductance k (simulation units)", "current", "susceptibility |∂G/∂k|"]
    assert seen["played"]


HOVER = """
  const map = document.querySelector("figure[data-name=network_map] .interactive");
  map.scrollIntoView();
  const layout = map._fullLayout, pane = map.querySelector(".nsewdrag");
  const labels = () => [...map.querySelectorAll(".hoverlayer .hovertext")];
  const read = () => labels().map((label) => label.textContent).join("|");
  const at = async (trace, i) => {
    const before = read();
    const box = pane.getBoundingClientRect();
    const clientX = box.left + layout.xaxis.d2p(trace.x[i]), clientY = box.top + layout.yaxis.d2p(trace.y[i]);
    pane.dispatchEvent(new MouseEvent("mousemove", { bubbles: true, clientX, clientY }));
    await until(() => read() && read() !== before);
    return read();
  };
  const under = map.data.find((trace) => trace.text && trace.marker.opacity === 0);
  const nodes = map.data.find((trace) => trace.name === "driven");
  return [await at(under, 2), await at(nodes, 0)];
"""


@needs_chromium
def test_the_pointer_tells_of_edges_and_nodes(page, dataset):
    edge, node = driven(page, HOVER)
    assert re.search(r"edge 2, nodes \d+ and \d+", edge)
    for word in ("conductance k", "current", " from ", "susceptibility", "at first"):
        assert word in edge
    assert re.search(r"node 1 \(driven\)pressure or voltage: ", node)


def test_nodes_are_called_by_name(dataset):
    names = [f"vessel {i}" for i in range(dataset.attrs["num_nodes"])]
    assert page_data(dataset)["map"]["names"] is None
    assert page_data(dataset.assign(node_name=("node", names)))["map"]["names"] == names


@needs_chromium
def test_the_pointer_tells_the_names_of_nodes(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxphys.reports.page.DPI", 20)
    names = [f"<b>&{i}" for i in range(dataset.attrs["num_nodes"])]
    edge, node = driven(
        write_report(dataset.assign(node_name=("node", names)), tmp_path, config="seed = 0")[-1], HOVER
    )
    assert re.search(r"edge 2, nodes <b>&\d+ and <b>&\d+", edge)
    assert re.search(r" from <b>&\d+ to <b>&\d+", edge)
    assert "node <b>&1 (driven)" in node


SORT = """
  const table = document.querySelector("table.sortable");
  const heading = [...table.tHead.rows].at(-1).cells[3];
  const column = () => [...table.tBodies[0].rows].map((row) => row.cells[3].textContent);
  const seen = [column()];
  heading.querySelector("button").click();
  seen.push(column(), heading.getAttribute("aria-sort"));
  heading.querySelector("button").click();
  seen.push(column(), heading.getAttribute("aria-sort"));
  return seen;
"""


def value(text):
    raised = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹−", "-0123456789-")
    return float(text.translate(raised).replace("×10", "e"))


@needs_chromium
def test_a_heading_sorts_its_table(page):
    before, up, first, down, second = driven(page, SORT)
    assert (first, second) == ("ascending", "descending")
    assert up == sorted(before, key=value) != before
    assert down == up[::-1]


COLORS = """
  const ratios = () => {
    const channel = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const light = (text) => {
      const [r, g, b] = text.match(/[\\d.]+/g).map(Number);
      return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    };
    const ground = (element) => {
      for (; element; element = element.parentElement) {
        const color = getComputedStyle(element).backgroundColor;
        if (!/, 0\\)|transparent/.test(color)) return color;
      }
      return "rgb(255, 255, 255)";
    };
    const kinds = "h1, h2, p, li, th, td, figcaption, button, output, summary, label";
    const texts = [...document.querySelectorAll(kinds)];
    return Math.min(...texts.filter((e) => e.textContent.trim()).map((e) => {
      const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05);
    }));
  };
  const seen = [ratios(), getComputedStyle(document.body).backgroundColor];
  document.getElementById("theme").click();
  const map = document.querySelector("figure[data-name=network_map] .interactive");
  await until(() => map._fullLayout.paper_bgcolor !== seen[1]);
  seen.push(ratios(), getComputedStyle(document.body).backgroundColor);
  seen.push(map._fullLayout.paper_bgcolor);
  return seen;
"""


@needs_chromium
def test_light_and_dark_can_both_be_read(page):
    light, white, dark, black, picture = driven(page, COLORS)
    assert min(light, dark) >= 4.5, "the contrast of text that WCAG AA asks for"
    assert white != black
    assert picture == black


@needs_chromium
def test_on_paper_there_are_images_in_place_of_controls(page, tmp_path):
    out = tmp_path / "page.pdf"
    opened(page.as_uri(), f"--print-to-pdf={out}")
    # On a screen images are hidden behind what is drawn in their place.
    assert len(re.findall(rb"/Subtype\s*/Image", out.read_bytes())) >= 5
