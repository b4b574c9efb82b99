"""The report says what the dataset holds, shows strangers' text as text, and loads nothing."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import jaxphys as jp
from jaxphys.diagnostics import FUNCTIONALS
from jaxphys.io import load_run, run_dataset, save_run
from jaxphys.reports.page import library, script
from jaxphys.reports.run_page import write_report

# Nothing here computes in the precision of the networks.
pytestmark = pytest.mark.float64

HOSTILE = "<script>alert(1)</script><img src=\"https://example.org/x.png\" alt=''> & more"


@pytest.fixture(scope="module", autouse=True)
def coarse():
    """Pictures of few pixels: most of a report's time goes into drawing them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxphys.reports.page.DPI", 20)
        yield


@pytest.fixture(scope="module")
def full(dataset, tmp_path_factory):
    """A report with everything in it: page and paths."""
    return report(dataset, tmp_path_factory.mktemp("full") / "new" / "folder", config="steps = 20")


@pytest.fixture(scope="module")
def bare(dataset):
    """The same run without what can be left out."""
    recorded = ["eigenvalues", "effective_conductance", "effective_dimension"]
    return dataset.drop_vars([*recorded, "train_accuracy", "test_accuracy"])


@pytest.fixture(scope="module")
def dataset():
    """Four node networks that learned to tell two classes apart, with everything recorded."""
    random = np.random.default_rng(0)
    matrices = [np.diag(random.uniform(4, 6, 6)) for _ in range(4)]
    networks = [jp.NodeNetwork.from_matrix(matrix) for matrix in matrices]
    labels = np.arange(8) % 2
    features = np.stack([1.0 + labels, 2.0 - labels], axis=1)
    tasks = [
        jp.classification(n, jp.Boundary(n), [0, 1], [4, 5], features=features, labels=labels)
        for n in networks
    ]
    run = jp.train(
        jp.stack(networks),
        jp.stack(tasks),
        steps=20,
        optimizer=jp.Descent(adaptive=jp.AdaptiveStep()),
        record=jp.Record(every=5, functionals={"eigenvalues": FUNCTIONALS["eigenvalues"]}),
    )
    accuracies = {"train_accuracy": [1.0, 1.0, 0.875, 1.0], "test_accuracy": [0.75, 1.0, 0.5, 1.0]}
    dataset = run_dataset(run, attributes={"seed": 3}, **accuracies)
    # Recorded like the eigenvalues, but not compiled: any numbers with the right axes will do.
    dataset["effective_conductance"] = np.sqrt((dataset["eigenvalues"] ** -2).mean("mode"))
    dataset["effective_dimension"] = dataset["eigenvalues"].sum("mode") ** 2
    return dataset


class Page(HTMLParser):
    """What a browser would see: tags, and text outside of styles."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(html)
        assert self.open == [], f"{self.open} are never closed"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def report(dataset, folder, **options):
    paths = write_report(dataset, folder, **options)
    assert paths[-1] == folder / "report.html"
    return Page(paths[-1].read_text("utf-8")), paths


def test_report_holds_every_picture_with_a_description(full):
    page, paths = full
    names = {path.stem for path in paths[:-1]}
    assert sorted(path.suffix for path in paths[:-1]) == [".png"] * 6 + [".svg"] * 6
    assert names == {
        "learning_curves",
        "accuracy_distribution",
        "network_map",
        "spectrum_change",
        "eigenvalue_flow",
        "conductance_and_dimension",
    }
    images = page.all("img")
    assert len(images) == len(names)
    for image, path in zip(images, paths, strict=False):
        assert len(image["alt"]) > 40
        embedded = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"), validate=True)
        assert embedded == path.read_bytes()
        assert embedded.startswith(b"\x89PNG")
    written = {path for path in paths[-1].parent.rglob("*") if path.is_file()}
    assert written == set(paths), "no temporary file may stay behind"


def test_report_loads_nothing_and_runs_nothing_but_its_own_scripts(full):
    page, paths = full
    html = paths[-1].read_text("utf-8").replace(library(), "").replace(script(), "")
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert not {"iframe", "object", "base"} & {tag for tag, _ in page.tags}
    assert page.all("link") == [{"rel": "icon", "href": "data:,"}]
    assert page.all("script") == [{"type": "application/json", "id": "data"}, {}, {}]
    for _, attrs in page.tags:
        assert attrs.get("src", "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attrs)
    policy = next(attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs)
    for code in (library(), script()):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'" in policy
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1]
    assert paths[-1].stat().st_size < 8e6


def test_report_shows_hostile_text_as_text(bare, tmp_path):
    plain, _ = report(bare, tmp_path, config="lines = 2")
    page, _ = report(bare.assign_attrs(note=HOSTILE), tmp_path, title=HOSTILE, config=HOSTILE)
    # Beside one more row of provenance the page has the elements that it always has.
    assert len(page.tags) == len(plain.tags) + 3
    assert page.all("script") == plain.all("script")
    # In the tab, in the heading, in the config and among the attributes.
    assert page.text.count(HOSTILE) == 4


def test_report_says_what_was_trained_and_what_came_out(dataset, full):
    page, _ = full
    cost, lowest = dataset["cost"].values, dataset["eigenvalues"].values[:, :, 0]
    text = " ".join(page.text.split())
    assert "4 fully connected node networks, each with 6 nodes and 21 learning degrees of freedom" in text
    assert "classification of 8 samples, 2 inputs, 2 classes" in text
    assert "Trained for 20 learning steps." in text
    for values in (cost, lowest):
        start, end = (f"{np.median(values[:, record]):.3g}" for record in (0, -1))
        assert re.search(rf"fell from {re.escape(start)} to {re.escape(end)} in the median", text)
    accuracy = 100 * dataset["train_accuracy"].values
    assert f"{accuracy.mean():.1f} ± {accuracy.std():.1f} %" in text
    assert "No realization failed." in text
    assert "steps = 20" in text
    assert "seed3" in text, "name and value of an attribute stand side by side"


def test_report_of_a_saved_run_is_the_same(bare, tmp_path):
    save_run(bare, tmp_path / "run.nc")
    fresh = write_report(bare, tmp_path / "fresh")[-1]
    loaded = write_report(load_run(tmp_path / "run.nc"), tmp_path / "loaded")[-1]
    assert fresh.read_bytes() == loaded.read_bytes()


def test_failed_realizations_are_named_and_left_out(bare, tmp_path):
    spoilt = bare.copy(deep=True)
    spoilt["status"].values[:2] = [jp.Status.NOT_FINITE, 99]
    spoilt["cost"].values[0] = np.nan
    spoilt["k"].values[1] = 1e9
    page, _ = report(spoilt, tmp_path)
    assert "2 of 4 realizations failed (1 NOT_FINITE, 1 unknown status 99)" in page.text
    kept, _ = report(bare.isel(realization=[2, 3]), tmp_path)
    table = [re.search(r"quantity.*Medians", " ".join(p.text.split()))[0] for p in (page, kept)]
    assert table[0] == table[1]


def test_report_of_nothing_but_failures_has_no_pictures(dataset, tmp_path):
    lost = dataset.copy(deep=True)
    lost["status"].values[:] = jp.Status.NOT_POSITIVE_DEFINITE
    page, paths = report(lost, tmp_path)
    assert paths == [tmp_path / "report.html"]
    assert page.all("img") == []
    assert "4 of 4 realizations failed (4 NOT_POSITIVE_DEFINITE)" in page.text


def test_report_of_one_bare_realization(bare, tmp_path):
    page, paths = report(bare.isel(realization=[0]), tmp_path)
    assert [path.stem for path in paths] == [
        "learning_curves",
        "network_map",
        "learning_curves",
        "network_map",
        "report",
    ]
    assert "1 fully connected node network with 6 nodes" in page.text
    assert "quantiles:" not in page.text


def test_an_incomplete_dataset_writes_nothing(dataset, tmp_path):
    with pytest.raises(jp.InputError, match="`status`"):
        write_report(dataset.drop_vars("status"), tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("samples", "weighted", "words"),
    [
        (1, False, "a wanted response of 1 output to 1 input"),
        (2, True, "2 tasks at once"),
        (3, False, "regression on 3 samples, 1 input, 1 output"),
    ],
)
def test_the_kind_of_task_is_told_from_its_shape(samples, weighted, words, tmp_path):
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (2, 3)]))
    boundary = jp.Boundary(network, ground=[3])
    if weighted:
        task = jp.allostery(network, boundary, [0, 1], [1, 2], response=0.3)
    elif samples == 1:
        task = jp.allostery(network, boundary, [0], [2], response=0.3)
    else:
        inputs = np.arange(1.0, samples + 1)[:, None]
        task = jp.regression(network, boundary, [0], [2], matrix=[[0.3]], inputs=inputs)
    network, task = jp.stack([network]), jp.stack([task])
    steps, cost, status = np.array([0, 10]), np.array([[1.0, 0.1]]), np.zeros(1, int)
    run = jp.Run(network, task, network.k, steps, cost, {}, status, (0.0, 0.0))
    page, _ = report(run_dataset(run), tmp_path)
    assert words in page.text
    assert "1 flow network with 4 nodes and 3 learning degrees of freedom" in page.text
