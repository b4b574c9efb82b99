"""A kind of network that nobody foresaw: JSON, archives and runs keep it, others say that they cannot."""

import json

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_identical
from own_kinds import Hinges, Products, of_three

import jaxphys as jp

KINDS = {"strains": Hinges, "energies": Products}


def network(build=Hinges):
    one = of_three(build)
    topology = jp.from_edges(
        np.asarray(one.topology.edges), positions=np.arange(10.0).reshape(5, 2) ** 0.5, names=list("abcde")
    )
    return eqx.tree_at(lambda one: (one.topology, one.k), one, (topology, jnp.array([0.5, 2.0, 1.0, 3.0])))


@pytest.mark.parametrize("suffix", ["json", "npz"])
@pytest.mark.parametrize("build", KINDS.values(), ids=KINDS)
def test_a_file_holds_all_that_a_network_is_made_of(tmp_path, build, suffix):
    path = tmp_path / f"network.{suffix}"
    jp.io.export_network(network(build), path)
    assert_identical(jp.io.load_network(path), network(build))


def test_archives_keep_the_law_of_springs(tmp_path):
    springs = jp.SpringNetwork(jp.square_lattice((2, 3)), law="vector")
    jp.io.export_network(springs, tmp_path / "springs.npz")
    assert_identical(jp.io.load_network(tmp_path / "springs.npz").hessian(), springs.hessian())


@pytest.mark.parametrize("suffix", ["csv", "graphml"])
def test_a_format_without_room_for_it_says_so(tmp_path, suffix):
    with pytest.raises(jp.InputError, match=rf"\.{suffix} cannot hold a row of hinges; use .json or .npz"):
        jp.io.export_network(network(), tmp_path / f"network.{suffix}")
    assert not list(tmp_path.iterdir())


def test_a_run_keeps_it(tmp_path):
    """Every realization has its middles where these differ, and all share them where they do not."""
    one = network()
    other = eqx.tree_at(lambda one: one.middle, one, jnp.array([1, 2, 3, 1]))
    task = jp.Task(
        jp.Boundary(one, ground=[0, 4]), force=one.node_rows([2]), readout=one.node_rows([1]), targets=[[0.1]]
    )
    for members, shape in (((one, one), (4,)), ((one, other), (2, 4))):
        run = jp.train(jp.stack(members), jp.stack([task, task]), steps=2, solver=jp.Dense())
        jp.io.save_run(run, tmp_path / "run.nc")
        dataset = jp.io.load_run(tmp_path / "run.nc")
        assert dataset["edge_middle"].shape == shape
        for number, member in enumerate(members):
            found = jp.io.load_network(tmp_path / "run.nc", realization=number)
            assert_identical(found, member.with_k(run.network.k[number]))


def changed(tmp_path, change):
    path = tmp_path / "network.json"
    jp.io.save_network(network(), path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("change", "saying"),
    [
        (
            lambda c: c["graph"].update(kind="tset hinges"),
            "kind must be .* but it is 'tset hinges'; the class",
        ),
        (lambda c: [edge.pop("middle") for edge in c["edges"]], "must give `middle` of a row of hinges"),
        (lambda c: c["edges"][0].update(middle="b"), "`middle` must hold finite numbers"),
        (lambda c: c["edges"][0].update(middle=[1, 2]), "`middle` must hold finite numbers"),
        (lambda c: c["edges"][0].pop("middle"), "`middle` must hold finite numbers"),
        (lambda c: c["edges"][0].update(middle=9), "`middle` must name nodes"),
        (
            lambda c: c["graph"].update(middle="b") or [edge.pop("middle") for edge in c["edges"]],
            "it makes no row of hinges: 'str' object has no attribute 'max'",
        ),
    ],
)
def test_what_is_no_such_network_is_refused(tmp_path, change, saying):
    path = changed(tmp_path, change)
    with pytest.raises(jp.InputError, match=rf"^File .*network.json: .*({saying})"):
        jp.io.load_network(path)
