"""Damaged files and full disks: the right content or one clear line, the old file or the new one."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

import jaxphys as jp
from jaxphys.config import dump_config, load_config, parse_config, read_samples
from jaxphys.data import ubiquitin
from jaxphys.io import (
    load_run,
    make_circuit,
    read_network,
    read_responses,
    run_dataset,
    save_netlist,
    save_network,
    save_run,
)
from jaxphys.networks.elastic import read_structure
from jaxphys.papers import Claim, load_claims, save_claims

pytestmark = pytest.mark.float64

LABELS = ["pump", "valve", "drain", "sink", "tank"]


def network():
    graph = jp.from_edges([(0, 1), (1, 2), (2, 3), (3, 4), (0, 4), (1, 3)])
    return jp.FlowNetwork(graph, [0.25, 0.5, 1.5, 3.0, 0.125, 2.0])


def small_run():
    flows = [jp.FlowNetwork(jp.erdos_renyi(8, 12, jax.random.key(i))) for i in range(3)]
    tasks = [jp.allostery(n, jp.Boundary(n, ground=[0]), [1], [2], response=0.4) for n in flows]
    return run_dataset(jp.train(jp.stack(flows), jp.stack(tasks), steps=4, record=jp.Record(every=2)))


def edge_rows():
    one = network()
    ends = [[LABELS[node] for node in edge] for edge in np.asarray(one.topology.edges).tolist()]
    return [(a, b, k) for (a, b), k in zip(ends, one.k.tolist(), strict=True)]


def graphml():
    nodes = "".join(f'<node id="{label}"/>' for label in LABELS)
    edges = "".join(
        f'<edge source="{a}" target="{b}"><data key="c">{k}</data></edge>' for a, b, k in edge_rows()
    )
    key = '<key id="c" for="edge" attr.name="conductance" attr.type="double"/>'
    head = '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">'
    return f'{head}{key}<graph edgedefault="undirected">{nodes}{edges}</graph></graphml>'


def claims():
    one = Claim("toy.one", "here", "A mean is small", 1.5, 1.25, (0.5, 2.0), 10, "holds")
    return [one, dataclasses.replace(one, id="toy.two", value=None, spread=None)]


def protein():
    structure = ubiquitin()
    atom = "ATOM  {0:5d}  CA  GLY A{0:4d}    {1:8.3f}{2:8.3f}{3:8.3f}  1.00 20.00           C"
    lines = [atom.format(i + 1, *place) for i, place in enumerate(structure.positions[:20])]
    return "\n".join([*lines, "END", ""])


def plain(found):
    """What a reader hands back, as something that `==` compares."""
    if isinstance(found, jp.io.NetworkFile):
        edges = np.asarray(found.network.topology.edges).tolist()
        return type(found.network).__name__, found.labels, edges, np.asarray(found.network.k).tolist()
    if hasattr(found, "to_dict"):
        return repr(found.drop_attrs().to_dict())
    if isinstance(found, tuple):
        return tuple(np.asarray(each).tolist() if each is not None else None for each in found)
    return found


def npz(**arrays):
    return lambda path: np.savez(path, **arrays)


def text(content):
    return lambda path: path.write_text(content() if callable(content) else content)


RESPONSES = np.array([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]])
# Name → how it is written and read. `guarded`: what is lost in such a file is always noticed.
KINDS = {
    "config.toml": (text(lambda: dump_config(parse_config({"steps": 30}))), load_config, False),
    "run.nc": (lambda path: save_run(small_run(), path), load_run, True),
    "network.nc": (lambda path: save_run(small_run(), path), read_network, True),
    "network.json": (lambda path: save_network(network(), path, seed=3), read_network, True),
    "network.graphml": (text(graphml), read_network, True),
    "network.csv": (
        text(lambda: "\n".join(["source,target,k", *(f"{a},{b},{k}" for a, b, k in edge_rows()), ""])),
        read_network,
        False,
    ),
    "network.cir": (
        lambda path: save_netlist(make_circuit(network(), held={0: 1.0}, ground=[1]), path),
        read_network,
        False,
    ),
    "network.npz": (
        npz(edges=np.asarray(network().topology.edges), k=np.asarray(network().k), labels=np.array(LABELS)),
        read_network,
        True,
    ),
    "responses.npz": (npz(responses=RESPONSES, driven=np.array([0, 2])), read_responses, True),
    "responses.npy": (lambda path: np.save(path, RESPONSES[:2]), read_responses, True),
    "responses.csv": (
        text("node,pump,drain\npump,0.75,0.25\nvalve,0.5,0.5\ndrain,0.25,0.75\n"),
        read_responses,
        False,
    ),
    "claims.json": (lambda path: save_claims(claims(), path), load_claims, True),
    "protein.pdb": (text(protein), read_structure, False),
    "samples.csv": (
        text("x,y,kind\n" + "".join(f"{i}.5,{i * i},{'ab'[i % 2]}\n" for i in range(9))),
        lambda path: read_samples(str(path)),
        False,
    ),
}
# In these every number has a checksum; of netCDF the attributes have none.
CHECKED = ("run.nc", "network.npz", "responses.npz")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Every kind of file, whole."""
    folder = tmp_path_factory.mktemp("whole")
    for name, (write, _, _) in KINDS.items():
        write(folder / name)
    return folder


def outcome(path, read):
    """The content, or None after a complaint of one line."""
    try:
        return plain(read(path))
    except jp.InputError as error:
        complaint = str(error)
    assert "\n" not in complaint
    assert len(complaint) < 500
    return None


@pytest.mark.parametrize("name", KINDS)
def test_files_cut_short(name, originals, tmp_path):
    _, read, guarded = KINDS[name]
    content, path = (originals / name).read_bytes(), tmp_path / name
    whole = outcome(originals / name, read)
    assert whole is not None
    refused = 0
    for length in np.linspace(0, len(content) - 1, 30).astype(int):
        path.write_bytes(content[:length])
        found = outcome(path, read)
        refused += found is None
        if guarded and content[length:].strip():
            assert found is None or found == whole, length
    assert refused > 0


@pytest.mark.parametrize("name", KINDS)
def test_flipped_bits(name, originals, tmp_path):
    _, read, _ = KINDS[name]
    content, path = (originals / name).read_bytes(), tmp_path / name
    whole = outcome(originals / name, read)
    random, refused = np.random.default_rng(17), 0
    count = 20 if name == "run.nc" else min(60, len(content))
    for at in random.choice(len(content), count, replace=False):
        broken = bytearray(content)
        broken[at] ^= 1 << random.integers(8)
        path.write_bytes(broken)
        found = outcome(path, read)
        refused += found is None
        assert name not in CHECKED or found is None or found == whole, at
    assert refused > 0


def test_every_bit_of_the_numbers_of_a_run_is_checked(originals, tmp_path):
    """Where the numbers of `k` lie, as they lie, one after the other."""
    content = (originals / "run.nc").read_bytes()
    numbers = load_run(originals / "run.nc")["k"].values.tobytes()
    start = content.index(numbers)
    for at in range(start, start + len(numbers), 61):
        broken = bytearray(content)
        broken[at] ^= 1
        (tmp_path / "run.nc").write_bytes(broken)
        with pytest.raises(jp.InputError, match="broken or cut short"):
            load_run(tmp_path / "run.nc")


def test_an_array_under_a_damaged_name_is_not_left_out(originals, tmp_path):
    """One bit makes `k.npy` in the directory of the archive a `j.npy`, and every conductance would be 1."""
    content = (originals / "network.npz").read_bytes()
    at = content.rindex(b"k.npy")
    (tmp_path / "network.npz").write_bytes(content[:at] + b"j" + content[at + 1 :])
    with pytest.raises(jp.InputError, match="broken"):
        read_network(tmp_path / "network.npz")


WRITERS = """
import json, resource, sys
from pathlib import Path
import jax
jax.config.update("jax_enable_x64", True)
from jaxphys import cli
from jaxphys.papers import load_claims, save_claims
from jaxphys.io import load_run, read_network, save_network, save_run
from jaxphys.reports.run_page import write_report

whole, folder, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
run, claims, network = load_run(whole / "run.nc"), load_claims(whole / "claims.json"), whole / "network.json"
if limit:
    # Python ignores the signal; the write fails with EFBIG, as it does with ENOSPC on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
told = {}
for name, write in {
    "run.nc": lambda path: save_run(run, path),
    "network.json": lambda path: save_network(read_network(network).network, path, about="x" * 20_000),
    "claims.json": lambda path: save_claims(claims * 100, path),
    "report.html": lambda path: write_report(run, path.parent),
}.items():
    try:
        write(folder / name)
    except OSError as error:
        told[name] = str(error)
told["status"] = cli.main(["inspect", str(network), "--draws", "19", "--out", str(folder / "found")])
kept = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
print("told", json.dumps([told, kept]))
"""


def test_a_full_disk(originals, tmp_path):
    """Every writer says so in one line that names the file; what was there before is kept, and no half file.

    A disk of its own where one can be mounted, else a limit to the size of files.
    """
    folder, old = tmp_path / "full", ("run.nc", "network.json", "claims.json", "report.html")
    folder.mkdir()
    (tmp_path / "writers.py").write_text(WRITERS)
    shell = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount, limit = f"mount -t tmpfs -o size=16k none {folder} && ", 0
    if (
        not shutil.which("unshare")
        or subprocess.run([*shell, f"{mount} true"], capture_output=True).returncode
    ):
        shell, mount, limit = ["sh", "-c"], "", 4096
    command = mount + "".join(f"printf old > {folder / name} && " for name in old)
    command += f"{sys.executable} {tmp_path / 'writers.py'} {originals} {folder} {limit}"
    environment = os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(jp.__file__))}
    done = subprocess.run([*shell, command], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    told, kept = json.loads(done.stdout.partition("told ")[2])
    assert told.pop("status") == 2
    assert set(told) == set(old)
    for complaint in told.values():
        assert str(folder) in complaint
        assert "\n" not in complaint
    assert {name: kept[name] for name in old} == dict.fromkeys(old, 3)
    assert not [name for name in kept if name.endswith(".part")]
    # Behind the bar, which begins lines of its own.
    *bars, complaint = re.split("[\r\n]+", done.stderr.strip())
    assert complaint.startswith("jaxphys: OSError: ")
    assert all("network/s" in bar or not bar.strip() for bar in bars)
