"""The report of an inspection: its files, its words, its pictures, and that labels stay text."""

import dataclasses
import itertools
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

import jaxphys as jp
from jaxphys.io import provenance
from jaxphys.reports import findings_page
from jaxphys.reports.findings_page import FINDINGS_FILES, findings_json, write_findings
from jaxphys.reports.page import script

pytestmark = pytest.mark.float64

HOSTILE = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Tags, whatever a page loads, and its visible text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loaded, self.alts, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        given = dict(attributes)
        self.loaded += [given[name] for name in ("src", "href") if name in given]
        if tag == "img":
            self.alts.append(given["alt"])

    def handle_data(self, data):
        self.text += data


def rough(count):
    return np.exp(0.5 * np.random.default_rng(0).standard_normal(count))


def flow_network():
    topology = jp.square_lattice((3, 4))
    return jp.FlowNetwork(topology, rough(topology.num_edges))


def spring_network():
    places = np.random.default_rng(1).uniform(size=(7, 3))
    return jp.SpringNetwork(
        jp.from_edges(list(itertools.combinations(range(7), 2)), positions=places), rough(21)
    )


def node_network():
    matrix = np.diag(np.full(6, 2.0)) + 0.1 * np.random.default_rng(0).standard_normal((6, 6))
    matrix[1, 4] = matrix[4, 1] = -1.7
    return jp.NodeNetwork.from_matrix((matrix + matrix.T) / 2)


@pytest.fixture(scope="module")
def findings():
    """A flow network whose nodes have evil names."""
    labels = (HOSTILE, "$\\frac", "日本", "x" * 200, *(f'"{i}" & co' for i in range(8)))
    return jp.inspect_network(flow_network(), labels=labels, num_null=19)


def test_all_files_are_written_and_the_json_is_as_documented(findings, tmp_path):
    paths = write_findings(findings, tmp_path / "new", source="net.csv")
    assert sorted(str(path.relative_to(tmp_path / "new")) for path in paths) == sorted(FINDINGS_FILES)
    assert all(path.stat().st_size > 0 for path in paths)
    assert not list((tmp_path / "new").rglob("*.part"))

    found = json.loads((tmp_path / "new" / "findings.json").read_text())
    assert found["verdict"] in ("trained", "unusual", "not distinguishable")
    assert 0 < found["p_value"] <= 1
    assert {"value", "null_mean", "null_std", "z", "p"} <= set(found["statistics"]["imprint"])
    assert [node["score"] for node in found["nodes"]] == sorted(
        (node["score"] for node in found["nodes"]), reverse=True
    )
    assert {node["node"] for node in found["nodes"]} == set(findings.labels)
    assert set(found["edges"][0]) == {"source", "target", "score"}
    scores = [edge["score"] for edge in found["edges"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == findings.network.num_edges
    assert found["source"] == "net.csv"
    assert found["versions"] == provenance()

    with xr.open_dataset(tmp_path / "new" / "findings.nc", engine="h5netcdf") as dataset:
        np.testing.assert_array_equal(dataset["response"], findings.fields["response"])
        assert dataset["label"].values.tolist() == list(findings.labels)
        assert dataset.attrs["verdict"] == findings.verdict
        assert json.loads(dataset.attrs["versions"])["jaxphys"] == jp.__version__


def test_the_page_shows_labels_as_text_and_loads_nothing(findings, tmp_path):
    write_findings(findings, tmp_path, source=HOSTILE)
    html = (tmp_path / "report.html").read_text("utf-8")
    page = Page(html.replace(f"<script>{script()}</script>", ""))
    # Beside our own, which sorts tables.
    assert "script" not in page.tags
    assert "Content-Security-Policy" in html
    assert HOSTILE in page.text
    assert all(address.startswith("data:") for address in page.loaded)
    assert len(page.alts) == 6
    assert all(len(alt) > 40 for alt in page.alts)
    # No number may slip through as Python writes what is none.
    assert not re.search(r"\b(nan|inf|None)\b", page.text)
    assert (tmp_path / "report.html").stat().st_size < 8e6


def test_what_is_not_finite_is_null(findings):
    one = findings.statistics["imprint"]._replace(z=float("nan"), value=float("inf"))
    broken = dataclasses.replace(findings, statistics=findings.statistics | {"imprint": one})
    text = findings_json(broken, source="x")
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["statistics"]["imprint"]["z"] is None
    assert found["statistics"]["imprint"]["value"] is None


@pytest.mark.parametrize(
    ("network", "pictures"), [(spring_network, 6), (node_network, 5)], ids=["springs in space", "nodes"]
)
def test_other_kinds_have_their_pictures(network, pictures, tmp_path):
    write_findings(jp.inspect_network(network(), num_null=19), tmp_path, source="x")
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert len(page.alts) == pictures
    assert len(list((tmp_path / "figures").glob("*.png"))) == pictures


@pytest.mark.parametrize(
    ("verdict", "p_value", "words"),
    [
        ("trained", 0.05, ["looks trained", "not one looked", "cannot come out smaller"]),
        ("trained", 0.1, ["looks trained", "1 looked at least"]),
        ("unusual", 1.0, ["unusual, but not in the way", "stands out most"]),
        ("not distinguishable", 1.0, ["No sign of training", "does not prove"]),
    ],
)
def test_the_verdict_is_said_in_words(findings, verdict, p_value, words, tmp_path, monkeypatch):
    monkeypatch.setattr(findings_page, "draw_findings", lambda _: [])
    write_findings(
        dataclasses.replace(findings, verdict=verdict, p_value=p_value, terminals=(4, 5)),
        tmp_path,
        source="x",
    )
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    for each in words:
        assert each in page.text
    assert '"0" & co' in page.text


def test_equal_k_tell_of_no_pair(tmp_path):
    found = jp.inspect_network(jp.FlowNetwork(jp.square_lattice((3, 4))), num_null=19)
    write_findings(found, tmp_path, source="x")
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert "nothing to read" in page.text
    assert "A is " not in page.text
    assert not (tmp_path / "figures" / "suspects.png").exists()
