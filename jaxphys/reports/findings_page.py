"""From a file to findings, and from findings to files and a page that says them in words and pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from jaxphys._checks import InputError, require
from jaxphys.inspection import Findings, Statistic, inspect_network, inspect_responses
from jaxphys.inspection.findings import edge_ends
from jaxphys.io import NetworkFile, ResponseFile, provenance, read_measured, read_network
from jaxphys.io.files import about, check_own_folder, is_unfinished, jsonable, write_together
from jaxphys.io.runs import netcdf
from jaxphys.networks.elastic import STRUCTURES, elastic_network, read_structure
from jaxphys.networks.topology import Topology, from_edges
from jaxphys.reports.findings_plots import (
    PICTURES,
    Picture,
    draw_findings,
    finite_text,
    null_words,
    ordered,
    statistic_words,
    suspects,
)
from jaxphys.reports.page import as_uri, png, render
from jaxphys.reports.style import number_text

# Written last: with it findings are whole.
_SEAL = "report.html"
FINDINGS_FILES = ("findings.json", "findings.nc", *(f"figures/{name}.png" for name in PICTURES), _SEAL)
"""All that `write_findings` may write into a folder."""
# Rows of the tables of nodes and edges.
_TOP = 10


def inspect_file(
    path: Path | str,
    *,
    kind: str | None = None,
    realization: int | None = None,
    cutoff: float | None = None,
    graph: Path | str | None = None,
    values: str | None = None,
    unweighted: bool = False,
    matrix: str | None = None,
    **options: Any,  # Checked where they go, by `inspect_network` or `inspect_responses`.
) -> Findings:
    """Inspect what a file holds: a network, measured responses, or (`.pdb`, `.ent`, `.cif`) a protein.

    `graph` names a file with the edges of a flow network whose measured responses the first one holds; nodes
    go by their names. `kind`, `realization`, `values`, `unweighted` and `matrix` are those of
    `jaxphys.io.read_measured`, `cutoff` is that of
    `elastic_network` (15 Å if left out), and `options` are those of `inspect_network`. Proteins become
    springs of equal k, whose placement says nothing; their maps do.

    Raises `InputError` that names the file, on whatever cannot be read or inspected.

    >>> import tempfile
    >>> import jaxphys as jp
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "lattice.json"
    ...     jp.io.save_network(jp.FlowNetwork(jp.square_lattice((4, 4))), path)
    ...     inspect_file(path, num_null=19).reasons
    ('All k are equal: there is nothing in them to read.',)
    """
    path = Path(path)
    if path.suffix.lower() in STRUCTURES:
        structure = read_structure(path)
        with about(path):
            require(kind in (None, "spring"), "kind", "be spring for a protein", f"it is {kind}")
            require(realization is None, "realization", "be left out for a protein", f"it is {realization}")
            said = {"values": values, "unweighted": unweighted or None, "matrix": matrix}
            for name, value in said.items():
                require(value is None, name, "be left out for a protein", f"it is {value}")
            network = elastic_network(structure.positions, cutoff=15.0 if cutoff is None else cutoff)
            return inspect_network(network, labels=tuple(structure.residues), **options)
    found = read_measured(
        path, kind=kind, realization=realization, values=values, unweighted=unweighted, matrix=matrix
    )
    if graph is not None:
        topology = _graph_of(graph, path, found)
        options["topology"] = topology
    with about(path):
        require(
            cutoff is None, "cutoff", "be left out unless the file is a protein (.pdb)", f"it is {cutoff}"
        )
        if isinstance(found, NetworkFile):
            return inspect_network(found.network, labels=found.labels, **options)
        # What the file holds was asked when it was read.
        return inspect_responses(
            found.responses,
            errors=found.errors,
            driven=found.driven,
            labels=found.labels,
            matrix="responses",
            **options,
        )


def _graph_of(graph: Path | str, path: Path, found: NetworkFile | ResponseFile) -> Topology:
    """The graph of a file, its nodes in the order in which another file names them."""
    with about(path):
        require(isinstance(found, ResponseFile), "graph", "come with measured responses", "this is a network")
    # It says no more than which nodes are joined.
    named = read_network(graph, unweighted=True)
    with about(Path(graph)):
        network = named.network
        require(
            network.kind.is_laplacian,
            "graph",
            "be a flow network",
            f"it is a {type(network).__name__}",
        )
        place = {label: number for number, label in enumerate(found.labels)}
        missing = [label for label in named.labels if label not in place]
        require(not missing, "graph", f"name nodes of {path.name}", f"{missing[:1]} is none of them")
        places = np.array([place[label] for label in named.labels])
        positions = None
        if network.topology.positions is not None and len(places) == len(place):
            positions = np.asarray(network.topology.positions)[np.argsort(places)]
        edges = places[np.asarray(network.topology.edges)]
        # Responses do not distinguish edges that join the same two nodes.
        _, first = np.unique(np.sort(edges, axis=1), axis=0, return_index=True)
        edges = edges[np.sort(first)]
        return from_edges(edges, num_nodes=len(place), positions=positions)


def check_findings_folder(folder: Path | str, *, force: bool = False) -> None:
    """Raise `InputError` if `write_findings` shall not write into a folder.

    That is what holds findings, unless by `force`, or half of them, which are not kept: then a call was
    killed. Even by force: a folder with the report of something else, what is no folder, and a link in the
    place of `figures`.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder}: must be a folder, but it is a file")
    check_own_folder(folder / "figures")
    found = [name for name in FINDINGS_FILES if (folder / name).exists()]
    if not found or is_unfinished(folder, _SEAL):
        return
    if "findings.json" not in found:
        raise InputError(f"--out {folder}: holds {found[0]} of something else; give another folder")
    if _SEAL in found and not force:
        raise InputError(f"--out {folder}: already holds findings; give --force or another folder")


def write_findings(findings: Findings, folder: Path | str, *, source: str) -> list[Path]:
    """Write what was found into `folder`, made if it is missing, and a page for readers.

    - `findings.json`: `findings.as_json()` with `source` and the versions of what computed it; numbers that
      are not finite are null.
    - `findings.nc`: `findings.fields` as netCDF (HDF5), with the labels of the nodes and the same facts.
    - `figures/*.png`, and `report.html`, which holds them and loads nothing from elsewhere.

    `source` says what was looked at, such as the name of the file. Labels and source are shown as text,
    whatever they hold. Returns the paths of the files, the report last. They are written all together or
    not at all, and what earlier findings left in the folder goes.

    >>> import tempfile
    >>> import jaxphys as jp
    >>> findings = jp.inspect_network(jp.FlowNetwork(jp.square_lattice((4, 4))), num_null=19)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in write_findings(findings, folder, source="a lattice")][-1]
    'report.html'
    """
    folder = Path(folder)
    check_own_folder(folder / "figures")
    pictures = draw_findings(findings)
    images = {picture.name: png(picture.figure) for picture in pictures}
    page = _page(findings, pictures, images, source)
    text = findings_json(findings, source=source)
    fields = _dataset(findings, source)

    contents = {"findings.json": text.encode(), "findings.nc": netcdf(fields)}
    contents |= {f"figures/{name}.png": image for name, image in images.items()}
    contents[_SEAL] = page.encode()
    is_ours = (folder / "findings.json").exists() or is_unfinished(folder, _SEAL)
    return write_together(folder, contents, stale=set(FINDINGS_FILES) - set(contents) if is_ours else ())


def findings_json(findings: Findings, *, source: str) -> str:
    """What `findings.json` holds, as text of one JSON object; what is not finite is null.

    >>> import jaxphys as jp
    >>> findings = jp.inspect_network(jp.FlowNetwork(jp.square_lattice((4, 4))), num_null=19)
    >>> json.loads(findings_json(findings, source="a lattice"))["verdict"]
    'not distinguishable'
    """
    content = findings.as_json() | {"source": source, "versions": provenance()}
    return json.dumps(jsonable(content), indent=1, allow_nan=False) + "\n"


def _dataset(findings: Findings, source: str) -> xr.Dataset:
    facts = {
        "source": source,
        "verdict": findings.verdict,
        "p_value": findings.p_value,
        "versions": json.dumps(provenance()),
    }
    # netCDF has no truth values among its attributes.
    plain = {
        name: int(value) if isinstance(value, bool) else value
        for name, value in findings.fields.attrs.items()
    }
    fields = findings.fields.assign_attrs(plain | facts)
    return fields.assign(label=("node", np.array(findings.labels, dtype=object)))


# The page


def _page(findings: Findings, pictures: list[Picture], images: dict[str, bytes], source: str) -> str:
    return render(
        "findings",
        source=source,
        headline=_HEADLINES[findings.verdict],
        words=_in_words(findings),
        reasons=findings.reasons,
        terminals=[
            {"mark": mark, "label": findings.labels[node], "score": number_text(findings.node_scores[node])}
            for (mark, _), node in suspects(findings)
        ],
        trained=findings.verdict == "trained",
        pictures=[{**picture._asdict(), "uri": as_uri(images[picture.name])} for picture in pictures],
        statistics=[_row(name, findings.statistics[name]) for name in ordered(findings.statistics)],
        nulls=[
            {
                "name": null_words(null)[0],
                "about": null_words(null)[3],
                "rows": [_row(name, table[name]) for name in ordered(table)],
            }
            for null, table in findings.null_models.items()
        ],
        nodes=_top_nodes(findings),
        edges=_top_edges(findings),
        quantity=findings.network.kind.strengths,
        facts=_facts(findings),
        limits=_limits(findings),
        versions=provenance(),
    )


_HEADLINES = {
    "trained": "This network looks trained",
    "unusual": "This network is unusual, but not in the way of training",
    "not distinguishable": "No sign of training",
}


def _in_words(findings: Findings) -> list[tuple[str, str]]:
    """What the verdict means, how sure it is, and what it does not mean."""
    kind, (first, second) = findings.network.kind, (findings.labels[node] for node in findings.terminals)
    draws = int(findings.fields.attrs["num_null"])
    # The add-one rule, undone.
    alike = max(0, round(findings.p_value * (draws + 1)) - 1)
    counted = (
        f"Of {draws} untrained networks made from its own {kind.strengths}, {alike if alike else 'not one'} "
        f"looked at least as trained as this one (p = {number_text(findings.p_value)}; where several ways of "
        "making them were tried, this is the way that came closest)."
    )
    if findings.p_value >= 1:
        counted = "p = 1: nothing in its places speaks for training, or something else explains them better."
    if findings.verdict == "trained":
        if not findings.network.kind.is_pairwise:
            meaning = (
                "It gives way in one direction more easily than its couplings would in other places. "
                f"Learning leaves such a soft direction. Most of it lies on the nodes {first} and {second}."
            )
        else:
            meaning = (
                f"Its {kind.strengths} lie where learning would have put them, had the network been taught "
                f"that a {kind.force} at one node changes the {kind.coordinate} at another. The two nodes "
                f"for which this fits best are {first} and {second}."
            )
        least = 1 / (draws + 1)
        if findings.p_value <= least * 1.001:
            counted += f" With {draws} draws p cannot come out smaller; more draws could tell more."
        not_meant = (
            "It does not say which of the two nodes was pushed and which was read. If the network was taught "
            "something else than one such response, the two nodes are only where the trace is strongest. And "
            "whatever else places things like learning does, by chance or by design, is taken for learning."
        )
    elif findings.verdict == "unusual":
        meaning = (
            f"Its {kind.strengths} do not lie where chance would put them, but what sets them apart is not "
            "what learning a response does. Growth, design, wear or a gradient in space can do so."
        )
        strongest = min(one.p_corrected for one in findings.statistics.values())
        counted = (
            f"The number that stands out most would do so in an untrained network with probability "
            f"{number_text(strongest)}, counting that all numbers below were looked at."
        )
        not_meant = (
            "It does not rule out that the network was trained besides. The two nodes below are where a "
            "trace of training would be looked for first."
        )
    else:
        meaning = f"The places of its {kind.strengths} are within what chance does."
        if not suspects(findings):
            meaning = f"There is nothing to read in the places of its {kind.strengths}."
        not_meant = (
            "It does not prove that nothing was learned: training in large steps, by a few per cent only, or "
            "for many responses at once can leave no trace that can be told from chance."
        )
        if suspects(findings):
            not_meant += (
                " The two nodes below are where the trace is strongest; without a verdict they mean little."
            )
    return [("What it means", meaning), ("How sure it is", counted), ("What it does not mean", not_meant)]


def _row(name: str, one: Statistic) -> dict[str, str]:
    words, about = statistic_words(name)
    return {
        "name": words,
        "about": about,
        "value": finite_text(one.value),
        "null": f"{finite_text(one.null_mean)} ± {finite_text(one.null_std)}",
        "z": finite_text(one.z, "{:+.1f}"),
        "p": finite_text(one.p),
        "p_corrected": finite_text(one.p_corrected),
    }


def _top_nodes(findings: Findings) -> list[dict[str, str]]:
    best = np.argsort(-findings.node_scores, kind="stable")[:_TOP]
    return [
        {"label": findings.labels[node], "score": finite_text(float(findings.node_scores[node]))}
        for node in best
    ]


def _top_edges(findings: Findings) -> list[dict[str, str]]:
    ends, k = edge_ends(findings.network), np.asarray(findings.network.k)
    best = np.argsort(-findings.edge_scores, kind="stable")[:_TOP]
    return [
        {
            "source": findings.labels[ends[edge, 0]],
            "target": findings.labels[ends[edge, 1]],
            "k": finite_text(float(k[edge])),
            "score": finite_text(float(findings.edge_scores[edge])),
        }
        for edge in best
    ]


def _facts(findings: Findings) -> list[tuple[str, str]]:
    names = {
        "kind": "kind",
        "resolved": "the readings show who is joined to whom",
        "noise": "error of the readings",
        "num_nodes": "nodes",
        "num_edges": "edges (numbers that can be learned)",
        "free_modes": "motions that cost nothing",
        "num_null": "draws of every null model",
        "significance": "called trained up to p =",
        "seed": "seed of the draws",
    }
    facts = dict(findings.fields.attrs)
    facts["kind"] = findings.network.kind.name
    return [
        (
            names.get(name, name.replace("_", " ")),
            number_text(value)
            if isinstance(value, float)
            else ("no", "yes")[value]
            if isinstance(value, bool)
            else str(value),
        )
        for name, value in facts.items()
    ]


def _limits(findings: Findings) -> list[str]:
    significance = float(findings.fields.attrs["significance"])
    return [
        "The pushed and the read node cannot be told apart: a network answers at B to a push at A just as it "
        "answers at A to a push at B.",
        "Training in large steps hides the trace, and training of a few per cent is too faint to be seen. "
        "“No sign of training” is therefore weaker than “looks trained”.",
        f"A threshold of p = {number_text(significance)} calls one untrained network in "
        f"{round(1 / significance)} trained. Who inspects many networks must expect such errors.",
        "A null model stands for the untrained network that nobody saw. If untrained networks of this kind "
        "differ from all of them, p means little; compare with networks known to be untrained if you can.",
        "Only the placement of k on its graph was looked at, not how its values came about.",
    ]
