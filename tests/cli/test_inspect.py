"""`jaxphys inspect`: what it writes, prints and refuses, and that refusing leaves nothing behind."""

import json
import re

import numpy as np
import pytest

import jaxphys as jp
from jaxphys import cli
from jaxphys.io import save_network
from jaxphys.reports import findings_page
from jaxphys.reports.findings_page import FINDINGS_FILES

pytestmark = pytest.mark.float64

# A wheel with four spokes: small, connected, no two edges alike.
EDGES = [("hub", str(i), 1.0 + i) for i in range(4)] + [(str(i), str((i + 1) % 4), 0.5 + i) for i in range(4)]


def table(edges, value="conductance"):
    return "".join(f"{a},{b},{k}\n" for a, b, k in [("source", "target", value), *edges])


@pytest.fixture
def network(tmp_path):
    """Of the shape that the tests of the report look at, so that they share compiled programs."""
    topology = jp.square_lattice((3, 4))
    k = 1.0 + np.arange(topology.num_edges) % 5
    save_network(jp.FlowNetwork(topology, k), tmp_path / "net.json")
    return tmp_path / "net.json"


def inspect(*arguments):
    return cli.main(["inspect", *map(str, arguments), "--draws", "19"])


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_findings_are_written_once_and_replaced_only_by_force(network, tmp_path, capsys):
    out = tmp_path / "out"
    assert inspect(network, "--out", out) == 0
    printed = capsys.readouterr()
    assert files(out) == sorted(FINDINGS_FILES)
    found = json.loads((out / "findings.json").read_text())
    assert printed.out.startswith(f"{found['verdict']} (p = ")
    assert " and ".join(found["terminals"]) in printed.out
    assert printed.out.endswith(f"open {out / 'report.html'}\n")
    assert re.search(r"\d+/\d+ \[.*network", printed.err), "a bar with the time left"
    assert found["source"] == "net.json"
    assert found["settings"]["num_null"] == 19

    before = (out / "findings.json").read_bytes()
    assert inspect(network, "--out", out, "--seed", 1) == 2
    assert "--force" in capsys.readouterr().err
    assert (out / "findings.json").read_bytes() == before

    (out / "mine.txt").write_text("keep")
    (out / "figures" / "mine.png").write_text("keep")
    # A refused file costs the earlier findings nothing.
    assert inspect(tmp_path / "none.csv", "--out", out, "--force") == 2
    assert (out / "findings.json").read_bytes() == before
    save_network(jp.FlowNetwork(jp.square_lattice((3, 4))), network)
    assert inspect(network, "--out", out, "--seed", 1, "--force") == 0
    # Equal k have fewer pictures; those of before are gone, what is not ours is kept.
    assert "figures/suspects.png" not in files(out)
    assert {"mine.txt", "figures/mine.png", "report.html"} <= set(files(out))
    assert json.loads((out / "findings.json").read_text())["settings"]["seed"] == 1


def test_json_goes_to_standard_output(network, tmp_path, capsys):
    assert inspect(network, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["nodes"][0]["score"] == max(node["score"] for node in printed["nodes"])
    assert files(tmp_path) == ["net.json"]


def test_responses_and_proteins_are_told_by_the_file(tmp_path, monkeypatch, capsys):
    """What they hold reaches the function that inspects it; that is tested elsewhere."""
    given = {}

    def stop(*what, **options):
        given.update(options, what=what[0])
        raise jp.InputError("stop")

    monkeypatch.setattr(findings_page, "inspect_network", stop)
    monkeypatch.setattr(findings_page, "inspect_responses", stop)
    responses = np.eye(5) + 0.1
    np.savetxt(tmp_path / "responses.csv", responses, delimiter=",")
    assert inspect(tmp_path / "responses.csv", "--json", "--seed", 3) == 2
    np.testing.assert_allclose(given["what"], responses)
    assert (given["num_null"], given["seed"], given["significance"]) == (19, 3, 0.05)
    assert given["driven"].tolist() == [0, 1, 2, 3, 4]
    assert "responses.csv: stop" in capsys.readouterr().err

    places = np.random.default_rng(0).uniform(0, 5, size=(6, 3))
    line = "ATOM  {0:5d}  CA  ALA A{0:4d}    {1:8.3f}{2:8.3f}{3:8.3f}  1.00 10.00           C\n"
    text = "".join(line.format(number, *place) for number, place in enumerate(places, start=1))
    (tmp_path / "small.PDB").write_text(text)
    assert inspect(tmp_path / "small.PDB", "--json", "--cutoff", 12) == 2
    assert given["what"].num_edges == 15
    assert given["labels"] == tuple(f"ALA {number} A" for number in range(1, 7))
    capsys.readouterr()
    assert inspect(tmp_path / "small.PDB", "--json", "--kind", "flow") == 2
    assert "protein" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file"),
        (b"\x00\xff\x80 junk", "UTF-8"),
        (table([*EDGES, ("hub", "4", "nan")]), "nan"),
        (table([*EDGES, *((b, a, k) for a, b, k in EDGES)]), "both directions"),
        (table([*EDGES, ("left", "right", 2.0)]), "connected"),
        (table(EDGES[:2]), "at least 4 nodes"),
    ],
    ids=["missing", "junk", "NaN", "twice", "in pieces", "too small"],
)
def test_bad_files_leave_nothing_behind(content, complaint, tmp_path, capsys):
    path, out = tmp_path / "net.csv", tmp_path / "out"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert inspect(path, "--out", out) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "net.csv" in error
    assert complaint in error
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--seed", "-1"], "--seed"),
        (["--significance", "0.01"], "significance"),
        (["--cutoff", "8"], "cutoff"),
        (["--kind", "magic"], "kind"),
        (["--realization", "1"], "realization"),
        (["--out", "{file}"], "must be a folder"),
        (["--out", "{run}"], "something else"),
        (["--out", "{run}", "--force"], "something else"),
    ],
)
def test_bad_options_are_one_line(arguments, complaint, network, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "report.html").write_text("of a run")
    places = {"file": network, "run": run}
    arguments = [argument.format(**places) for argument in arguments]
    assert inspect(network, "--out", tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert complaint in error
    assert files(tmp_path) == ["net.json", "run/report.html"]


def test_an_output_is_needed(network, capsys):
    assert inspect(network) == 2
    assert "--out" in capsys.readouterr().err
    assert cli.main(["inspect", str(network), "--json", "--draws", "5"]) == 2
    assert "--draws 5" in capsys.readouterr().err
