"""What newcomers get wrong is told in one sentence about what they passed, before any compute."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import assert_identical

import jaxphys as jp
from jaxphys.io import load_run, run_dataset, save_run

# The same in either precision.
pytestmark = pytest.mark.float64

SCRIPT = Path(__file__).resolve().parents[1] / "wrong_calls.py"


@pytest.fixture(scope="module")
def endings():
    """Name → how it ended and what was said, without the type checks of the test suite."""
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: (ending, said) for name, ending, said in map(json.loads, done.stdout.splitlines())}


def test_every_mistake_is_refused_in_one_sentence(endings):
    assert len(endings) > 200
    wrong = {}
    for name, (ending, said) in endings.items():
        sentence = re.fullmatch(r"Arguments? `\w+`.* must .+, but .+\.", said)
        if ending != "refused" or sentence is None or len(said) > 400:
            wrong[name] = ending, said
    assert wrong == {}


@pytest.mark.parametrize(
    ("name", "saying"),
    [
        ("optimizer not called", r"`optimizer`.*the function adam; call it, as in optax\.adam\("),
        ("optimizer lbfgs", r"`optimizer` must work with gradient, k and a key alone"),
        ("adaptive True", r"`adaptive` must be an `AdaptiveStep`.*, but it is True"),
        ("rule a name", r"`rule` must be a rule, as `CoupledLearning.*it is 'coupled_learning'"),
        ("rule the class", r"`rule`.*it is the class CoupledLearning; write CoupledLearning"),
        ("steps a float", r"`steps` must be a whole number, but it is 1000\.0; write 1000"),
        ("key a number", r"`key` must be a random key.*write jax\.random\.key\(0\)"),
        ("functionals a list", r"`functionals` must be a dictionary.*, but it is a list"),
        ("functionals of one argument", r"`functionals` must hold functions of \(network, task\)"),
        ("structure misspelt", r"`structure` must be among general, .*, but it is 'laplace'"),
        ("null_models misspelt", r"`null_models` must be among shuffled, .*, but it names shufled"),
        ("null_models a text", r"`null_models` must be a tuple of names, but it is 'smooth'"),
        ("parts a text", r"`parts` must be a tuple of names, but it is 'length'"),
        ("mesh of another axis", r"`mesh` must be a mesh of devices from `realization_mesh`.*axes are data"),
        ("record_steps True", r"`steps` must hold whole numbers, but it holds True"),
        ("record_steps nested", r"`steps` must be a list of steps, but it has 2 axes"),
        (
            "optimizer within an optimizer",
            r"must be an optax transformation, as `[^`]*`, but it is a",
        ),
        (
            "optimizers too few",
            r"`optimizer` must hold .* as the network has, 3, but it holds 1",
        ),
        ("optimizers of optax", r"differ in numbers alone.*share one optax .* give each `Descent` a `rate`"),
        ("rules of two kinds", r"`rule` must hold rules that differ in numbers alone, but these do not\.$"),
        ("checkpoint of no name", r"`folder` must name a folder, but it is ''"),
        ("cost of each output", r"`cost` must return one number.*CostOfEachOutput returns an array of shape"),
        ("integrator without an answer", r"`optimizer`.*that of UncheckedDescent returns None"),
        ("network and task swapped", r"`network` must be a network.*, but it is a Task"),
        ("network a list", r"`network` must be a network, or an ensemble of `jp\.stack`, but it is a list"),
        ("task of another network", r"`task` must be made for this network of 4 coordinates.*one of 8"),
        ("network in another precision", r"`task` must have the precision of the network, float64"),
        ("equilibrate values 0-d", r"`values` must have 1 entries"),
        ("respond of an ensemble", r"`network` must be one network.*3 realizations.*member"),
        ("bounds the other way round", r"`bounds` must be \(lower, upper\).*lower one below.*\(2\.0, 1\.0\)"),
        ("bounds NaN", r"`bounds` must hold numbers"),
        ("start negative", r"`network` must start with positive k.*1 entry.*bounds=None"),
        ("start negative, Gauss-Newton", r"`network` must start with positive k"),
        ("start negative, lower bound", r"`network` must start within the bound 0\.1"),
        ("functionals of concrete numbers", r"`functionals`.*JAX.*'a'"),
        ("functionals that fail", r"`functionals`.*'a'.*conductances"),
        ("optimizer a constant schedule", r"a schedule.*optax\.sgd\(schedule\)"),
        ("optimizer another schedule", r"a schedule.*optax\.sgd\(schedule\)"),
        ("member of a list", r"`realizations`.*`stack`.*, but it is a list"),
        ("member of a pair", r"`realizations`.*`stack`"),
        ("boundary held_drops of one node", r"`held_drops` must join different nodes.*1 to itself"),
        ("boundary held_drops of one name", r"`held_drops` must join different nodes.*b to itself"),
        ("with_k too long", r"`k` must have shape \(\.\.\., 5\), but it has \(6,\)"),
        ("with_k a number", r"`k` must have shape \(\.\.\., 5\)"),
        ("with_k a text", r"`k` must hold real numbers, but it is 'ones'"),
        ("learning_direction of ensembles", r"`network` must be one network.*3 realizations.*member"),
        ("predicted_eigenvalue_change of ensembles", r"`network` must be one network"),
        ("relative_conductance of an ensemble", r"`network` must be one network"),
        ("mode_change of nodes", r"`change` must have shape \(5,\), but it has \(3,\)"),
        ("cost_hessian of a boundary for a task", r"`task` must be a task, but it is a Boundary"),
        ("force_alignment of a swapped pair", r"`network` must be a network, but it is a Task"),
        ("free_subspace of a network", r"`boundary` must be a `Boundary`, but it is a FlowNetwork"),
        ("discover without a key", r"`key` must be a random key of JAX.*write jax\.random\.key\(0\)"),
        ("bounds a transformation", r"`bounds` must be \(lower, upper\).*put it behind the optimizer"),
    ],
)
def test_the_sentence_says_what_was_passed_and_what_to_do(endings, name, saying):
    assert re.search(saying, endings[name][1]), endings[name][1]


def test_every_public_function_has_its_mistakes():
    """Of the top level, but classes that nobody makes by hand."""
    text = SCRIPT.read_text(encoding="utf-8")
    by_others = {"Estimate", "Findings", "InputError", "Packing", "Response", "Run", "State", "Status"}
    abstract = {name for name in jp.__all__ if name.startswith("Abstract")}
    plain = {
        "BorderedLU",
        "Dense",
        "ExactGradient",
        "SparseLU",
        "SquaredError",
        "TrackedInverse",
        "clear_caches",
        "diagnostics",
        "solvers",
    }
    elsewhere = {"NetworkKind", "SparseCholesky", "StarMesh", "Topology"}
    elsewhere |= {"from_edges", "from_networkx", "jammed_packings"}
    for name in set(jp.__all__) - by_others - abstract - plain - elsewhere:
        assert f"jp.{name}" in text, name


def test_lists_and_numbers_will_do_where_arrays_are_asked_for():
    """`values=[1.0]`, a plain number of a single held row's list, integers, NumPy's single precision."""
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=[1.0, 3.0])
    held = jp.Boundary(network, held_nodes=[0], ground=[2])
    expected = jp.equilibrate(network, held, values=jax.numpy.array([2.0]))
    for values in ([2.0], [2], (2.0,), np.array([2.0], np.float32), np.array([2])):
        assert_identical(jp.equilibrate(network, held, values=values).x, expected.x)
    force = [0, 4.0, 0]
    assert_identical(
        jp.equilibrate(network, held, force).x, jp.equilibrate(network, held, jax.numpy.array(force)).x
    )


def test_a_run_saves_as_it_is(tmp_path):
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (2, 0)]))
    run = jp.train(
        network, jp.allostery(network, jp.Boundary(network, ground=[0]), [1], [2], response=0.1), steps=2
    )
    save_run(run, tmp_path / "run.nc")
    assert load_run(tmp_path / "run.nc").drop_attrs().identical(run_dataset(run).drop_attrs())
