"""Mistakes that newcomers make with every public function; each must end in one sentence.

A program of its own: in the test suite jaxtyping sees wrong types before the library does, and users do not
have it. Prints a line of JSON for each: its name, how it ended, and what was said.
"""

import json
import signal
import sys
import tempfile
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxphys as jp

jax.config.update("jax_enable_x64", True)

EDGES = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]
GRAPH = jp.from_edges(EDGES)
NETWORK = jp.FlowNetwork(GRAPH)
NEGATIVE = NETWORK.with_k(jnp.array([1.0, 1.0, 1.0, 1.0, -0.1]))
NAMED = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)], names=["a", "b", "c"]))
BOUNDARY = jp.Boundary(NETWORK, ground=[0])
TASK = jp.allostery(NETWORK, BOUNDARY, [1], [2], response=0.1)
NETWORKS, TASKS = jp.stack([NETWORK] * 3), jp.stack([TASK] * 3)
BIG = jp.FlowNetwork(jp.from_edges([(i, i + 1) for i in range(7)]))
BIG_BOUNDARY = jp.Boundary(BIG, ground=[0])
BIG_TASK = jp.allostery(BIG, BIG_BOUNDARY, [1], [2], response=0.1)
HELD = jp.Boundary(NETWORK, held_nodes=[0], ground=[2])
SPRINGS = jp.SpringNetwork(jp.from_edges([(0, 1), (1, 2), (2, 0)], positions=[[0, 0], [1, 0], [0, 1.0]]))
NODES = jp.NodeNetwork.from_matrix(3 * np.eye(3))
KEY = jax.random.key(0)
SINGLE = jp.FlowNetwork(GRAPH, k=np.ones(5, np.float32))
SINGLE_TASK = jp.allostery(SINGLE, jp.Boundary(SINGLE, ground=[0]), [1], [2], response=0.1)
RUN = jp.train(NETWORK, TASK, steps=1)
FOLDER = tempfile.mkdtemp()
WORDS = {"tag": "t", "name": "n", "strength": "k", "strengths": "k", "coordinate": "x", "force": "f"}


class CostOfEachOutput(jp.AbstractCost):
    def __call__(self, outputs, targets, weights):
        return weights * (outputs - targets) ** 2


class UncheckedDescent(jp.Descent):
    def check(self, network, task, rule, batch_size):
        pass


def train(*pair, **arguments):
    return lambda: jp.train(*(pair or (NETWORK, TASK)), **{"steps": 2, **arguments})


def call(function, *arguments, **named):
    return lambda: function(*arguments, **named)


# Names of measures, what else they take, and what they are handed in place of one network and its task or
# boundary.
_BOTH = {
    "a task alone": (TASK, TASK),
    "a network twice": (NETWORK, NETWORK),
    "nothing": (None, None),
}
_OF_TASKS = {
    **_BOTH,
    "ensembles": (NETWORKS, TASKS),
    "a swapped pair": (TASK, NETWORK),
    "a boundary for a task": (NETWORK, BOUNDARY),
    "another task": (NETWORK, BIG_TASK),
}
_OF_BOUNDARIES = {
    **_BOTH,
    "ensembles": (NETWORKS, jp.stack([BOUNDARY] * 3)),
    "a swapped pair": (BOUNDARY, NETWORK),
    "a task for a boundary": (NETWORK, TASK),
    "another boundary": (NETWORK, BIG_BOUNDARY),
}
MEASURES = (
    (
        (
            "cost_hessian",
            "cost_hessian_autodiff",
            "force_alignment",
            "gauss_newton_factor",
            "learning_direction",
            "predicted_eigenvalue_change",
            "predicted_force_alignment_change",
            "predicted_response_alignment_change",
            "response_alignment",
            "susceptibility_cost_hessian",
        ),
        (),
        _OF_TASKS,
    ),
    (("stiff_modes",), (1,), _OF_TASKS),
    (("cost_hessian_modes",), (1, KEY), _OF_TASKS),
    (("cost_hessian_product",), (jnp.ones(5),), _OF_TASKS),
    (
        (
            "effective_conductance",
            "effective_dimension",
            "spectrum",
            "susceptibility",
            "susceptibility_vectors",
        ),
        (),
        _OF_BOUNDARIES,
    ),
    (("partial_susceptibility",), ([1],), _OF_BOUNDARIES),
    (("mode_change",), (np.ones(5),), _OF_BOUNDARIES),
    (("effective_conductance_monte_carlo", "measure_responses"), (KEY,), _OF_BOUNDARIES),
)

CALLS = {
    # What `train` is handed.
    "optimizer not called": train(optimizer=optax.adam),
    "optimizer a number": train(optimizer=0.1),
    "optimizer a name": train(optimizer="sgd"),
    "optimizer a schedule": train(optimizer=optax.cosine_decay_schedule(0.1, 10)),
    "optimizer lbfgs": train(optimizer=optax.lbfgs()),
    "optimizer polyak": train(optimizer=optax.polyak_sgd()),
    "optimizer an adaptive step": train(optimizer=jp.AdaptiveStep()),
    "optimizer its update alone": train(optimizer=optax.sgd(0.1).update),
    "optimizer a list": train(optimizer=[optax.sgd(0.1)]),
    "adaptive True": call(jp.Descent, adaptive=True),
    "adaptive the class": call(jp.Descent, adaptive=jp.AdaptiveStep),
    "adaptive a number": call(jp.Descent, adaptive=0.5),
    "adaptive an integrator": call(jp.Descent, adaptive=jp.LevenbergMarquardt()),
    "rule a name": train(rule="coupled_learning"),
    "rule the class": train(rule=jp.CoupledLearning),
    "rule a number": train(rule=0.1),
    "rule a list of classes": train(NETWORKS, TASKS, rule=[jp.CoupledLearning] * 3),
    "rule a list of names": train(NETWORKS, TASKS, rule=["coupled_learning"] * 3),
    "rule an empty list": train(NETWORKS, TASKS, rule=[]),
    "rule a function": train(rule=lambda network, task: network.k),
    "optimizer the name of an integrator": train(optimizer="gradient_flow"),
    "optimizer the class": train(optimizer=jp.LevenbergMarquardt),
    "optimizer of an integrator": call(jp.Descent, jp.LevenbergMarquardt()),
    "optimizer of text": call(jp.Descent, "adam"),
    "integrator by itself": train(integrator=jp.LevenbergMarquardt()),
    "adaptive by itself": train(adaptive=jp.AdaptiveStep()),
    "record a number": train(record=10),
    "record a list": train(record=[1, 2]),
    "record the class": train(record=jp.Record),
    "checkpoint a path": train(checkpoint=FOLDER),
    "devices a mesh": train(devices=jp.realization_mesh()),
    "sampling a key": train(sampling=KEY),
    "progress a text": call(jp.Record, progress="yes"),
    "rate NaN": call(jp.Descent, rate=float("nan")),
    "rate negative": call(jp.Descent, rate=-1.0),
    "rate zero": call(jp.Descent, rate=0),
    "rate a name": call(jp.Descent, rate="fast"),
    "rate True": call(jp.Descent, rate=True),
    "rate None": call(jp.Descent, rate=None),
    "rate of too many": call(jp.Descent, rate=[0.1, 0.2]),
    "rate a schedule": call(jp.Descent, rate=lambda step: 0.1),
    "steps a float": train(steps=1e3),
    "steps half": train(steps=2.5),
    "steps negative": train(steps=-3),
    "steps zero": train(steps=0),
    "steps True": train(steps=True),
    "steps None": train(steps=None),
    "steps a text": train(steps="100"),
    "steps an array": train(steps=np.arange(3)),
    "steps too many": train(steps=2**40),
    "record_every zero": call(jp.Record, every=0),
    "record_every a float": call(jp.Record, every=1.5),
    "record_every a text": call(jp.Record, every="all"),
    "record_steps a number": call(jp.Record, steps=5),
    "record_steps floats": call(jp.Record, steps=[0.5]),
    "record_steps True": call(jp.Record, steps=[True]),
    "record_steps nested": call(jp.Record, steps=[[1]]),
    "record_steps beyond": train(record=jp.Record(steps=[5])),
    "key a number": call(jp.Sampling, key=0),
    "key a NumPy generator": call(jp.Sampling, key=np.random.default_rng(0)),
    "keys many": call(jp.Sampling, key=jax.random.split(KEY, 3)),
    "functionals a list": call(jp.Record, functionals=[lambda n, t: n.k]),
    "functionals a function": call(jp.Record, functionals=lambda n, t: n.k),
    "functionals no function": call(jp.Record, functionals={"k": "k"}),
    "functionals of names": call(jp.Record, functionals=["eigenvalues"]),
    "functionals under numbers": call(jp.Record, functionals={1: lambda n, t: n.k}),
    "functionals of one argument": train(record=jp.Record(functionals={"k": lambda network: network.k})),
    "functionals of text": train(record=jp.Record(functionals={"k": lambda network, task: "many"})),
    "functionals cost": call(jp.Record, functionals={"cost": lambda n, t: n.k}),
    "solver the class": train(solver=jp.Dense),
    "solver a name": train(solver="dense"),
    "batch_size a float": call(jp.Sampling, batch_size=1.0),
    "batch_size zero": train(sampling=jp.Sampling(batch_size=0)),
    "batch_size too many": train(sampling=jp.Sampling(batch_size=7)),
    "batch_size True": call(jp.Sampling, batch_size=True),
    "stop_cost a text": train(stop_cost="low"),
    "stop_cost NaN": train(stop_cost=float("nan")),
    "stop_cost None is fine, a list is not": train(stop_cost=[1e-3]),
    "bounds a number": train(bounds=0.1),
    "bounds a transformation": train(bounds=jp.bounds(0.1)),
    "bounds crossed": train(bounds=(2.0, 0.5)),
    "bounds NaN": train(bounds=(float("nan"), None)),
    "bounds the other way round": train(bounds=(2.0, 1.0)),
    "bounds NaN above": train(bounds=(0.1, np.float64("nan"))),
    "bounds equal": train(bounds=(1.0, 1.0)),
    "start negative": train(NEGATIVE, TASK),
    "start negative, upper bound": train(NEGATIVE, TASK, bounds=(None, 5.0)),
    "start negative, lower bound": train(NEGATIVE, TASK, bounds=(0.1, None)),
    "start negative, bounded optimizer": train(
        NEGATIVE, TASK, optimizer=optax.chain(optax.sgd(0.1), jp.bounds(0.1))
    ),
    "start negative, Gauss-Newton": train(NEGATIVE, TASK, optimizer=jp.LevenbergMarquardt()),
    "start negative in an ensemble": train(
        jp.stack([NETWORK, NEGATIVE]), jp.stack([TASK, TASK]), optimizer=jp.LevenbergMarquardt()
    ),
    "functionals of concrete numbers": train(record=jp.Record(functionals={"a": lambda n, t: float(n.k[0])})),
    "functionals of NumPy": train(
        record=jp.Record(functionals={"a": lambda n, t: np.linalg.eigvalsh(n.hessian())})
    ),
    "functionals with branches": train(
        record=jp.Record(functionals={"a": lambda n, t: n.k if n.k[0] > 0 else -n.k})
    ),
    "functionals that fail": train(record=jp.Record(functionals={"a": lambda n, t: n.conductances})),
    "optimizer a constant schedule": train(optimizer=optax.constant_schedule(0.1)),
    "optimizer another schedule": train(optimizer=optax.cosine_decay_schedule(0.1, 9)),
    "optimizer a schedule of one's own": train(optimizer=lambda step: 0.1),
    "bounds of three": train(bounds=(0.1, 1.0, 2.0)),
    "bounds a word": train(bounds="none"),
    "bounds of words": train(bounds=("low", "high")),
    "bounds that the start does not meet": train(bounds=(2.0, None)),
    "bounds misplaced": train(optimizer=optax.chain(jp.bounds(0.1), optax.sgd(1.0))),
    "block zero": call(jp.Devices, block=0),
    "block a float": call(jp.Devices, block=1.0),
    "mesh devices": call(jp.Devices, mesh=jax.devices()),
    "mesh a number": call(jp.Devices, mesh=2),
    "mesh of another axis": call(jp.Devices, mesh=jax.sharding.Mesh(np.array(jax.devices()), ("data",))),
    "checkpoint True": train(checkpoint=True),
    "checkpoint of no name": call(jp.Checkpointing, ""),
    "checkpoint a file": call(jp.Checkpointing, __file__),
    "resume without a checkpoint": train(resume=True),
    "resume a folder": call(jp.Checkpointing, FOLDER, resume=FOLDER),
    "checkpoint_seconds a text": call(jp.Checkpointing, FOLDER, "1 min"),
    "checkpoint_seconds negative": call(jp.Checkpointing, FOLDER, -1.0),
    "structure misspelt": call(jp.NetworkKind, **WORDS, structure="laplace"),
    "null_models misspelt": call(jp.NetworkKind, **WORDS, null_models=("shufled",)),
    "null_models a text": call(jp.NetworkKind, **WORDS, null_models="smooth"),
    "parts a text": call(jp.NetworkKind, **WORDS, parts="length"),
    "optimizer within an optimizer": call(jp.Descent, jp.Descent()),
    "optimizers too few": train(NETWORKS, TASKS, optimizer=[jp.Descent()]),
    "optimizers of optax": train(
        NETWORKS, TASKS, optimizer=[jp.Descent(optax.sgd(rate)) for rate in (0.1, 0.2, 0.3)]
    ),
    "rules of two kinds": train(
        NETWORKS, TASKS, rule=[jp.ExactGradient(), jp.ExactGradient(), jp.CoupledLearning()]
    ),
    "cost of each output": call(
        jp.Task,
        BOUNDARY,
        readout=NETWORK.node_rows([1]),
        targets=[[0.1]],
        force=NETWORK.node_rows([2]),
        cost=CostOfEachOutput(),
    ),
    "integrator without an answer": train(optimizer=UncheckedDescent()),
    "network and task swapped": train(TASK, NETWORK),
    "network a list": train([NETWORK] * 3, [TASK] * 3),
    "network a graph": train(GRAPH, TASK),
    "network an array": train(np.ones((3, 3)), TASK),
    "network the class": train(jp.FlowNetwork, TASK),
    "network None": train(None, TASK),
    "task a boundary": train(NETWORK, BOUNDARY),
    "task None": train(NETWORK, None),
    "task a list": train(NETWORKS, [TASK] * 3),
    "task of another network": train(NETWORK, BIG_TASK),
    "tasks of another ensemble": train(NETWORKS, jp.stack([BIG_TASK] * 3)),
    "ensemble of fewer tasks": train(NETWORKS, jp.stack([TASK] * 2)),
    "ensemble and one task": train(NETWORKS, TASK),
    "one network and tasks": train(NETWORK, TASKS),
    "an ensemble of ensembles": train(jp.stack([NETWORKS] * 2), jp.stack([TASKS] * 2)),
    "task in another precision": train(SINGLE, TASK),
    "network in another precision": train(NETWORK, SINGLE_TASK),
    # States at rest.
    "equilibrate an ensemble": call(jp.equilibrate, NETWORKS, BOUNDARY),
    "equilibrate without a boundary": call(jp.equilibrate, NETWORK, None),
    "equilibrate with a task": call(jp.equilibrate, NETWORK, TASK),
    "equilibrate swapped": call(jp.equilibrate, BOUNDARY, NETWORK),
    "equilibrate values a number": call(jp.equilibrate, NETWORK, HELD, values=1.0),
    "equilibrate values 0-d": call(jp.equilibrate, NETWORK, HELD, values=jnp.array(1.0)),
    "equilibrate values a dictionary": call(jp.equilibrate, NETWORK, HELD, values={0: 1.0}),
    "equilibrate values a text": call(jp.equilibrate, NETWORK, HELD, values=["one"]),
    "equilibrate values of too many": call(jp.equilibrate, NETWORK, HELD, values=[1.0, 2.0]),
    "equilibrate force a number": call(jp.equilibrate, NETWORK, BOUNDARY, 1.0),
    "equilibrate force of few": call(jp.equilibrate, NETWORK, BOUNDARY, [1.0, 2.0]),
    "equilibrate force ragged": call(jp.equilibrate, NETWORK, BOUNDARY, [[1.0], [1.0, 2.0]]),
    "equilibrate force complex": call(jp.equilibrate, NETWORK, BOUNDARY, [1j, 0, 0, 0]),
    "equilibrate batches apart": call(jp.equilibrate, NETWORK, HELD, np.ones((2, 4)), np.ones((3, 1))),
    "equilibrate solver the class": call(jp.equilibrate, NETWORK, BOUNDARY, solver=jp.Dense),
    "equilibrate solver a name": call(jp.equilibrate, NETWORK, BOUNDARY, solver="dense"),
    "equilibrate another's boundary": call(jp.equilibrate, NETWORK, BIG_BOUNDARY),
    "equilibrate in another precision": call(jp.equilibrate, SINGLE, BOUNDARY),
    "equilibrate force in another precision": call(jp.equilibrate, SINGLE, SINGLE_TASK.boundary, "x"),
    "greens_function of an ensemble": call(jp.greens_function, NETWORKS, BOUNDARY),
    "greens_function of a task": call(jp.greens_function, NETWORK, TASK),
    "greens_function solver the class": call(jp.greens_function, NETWORK, BOUNDARY, solver=jp.Dense),
    "boundary of an ensemble": call(jp.Boundary, NETWORKS, ground=[0]),
    "boundary of a graph": call(jp.Boundary, GRAPH, ground=[0]),
    "boundary held_drops of one node": call(jp.Boundary, NETWORK, held_drops=[(1, 1)], ground=[3]),
    "boundary held_drops of one joint": call(jp.Boundary, SPRINGS, held_drops=[(1, 1)], ground=[2]),
    "boundary held_drops of one name": call(jp.Boundary, NAMED, held_drops=[("b", "b")], ground=["a"]),
    "boundary held_drops of three": call(jp.Boundary, NETWORK, held_drops=[(0, 1, 2)], ground=[3]),
    "boundary free_modes True": call(jp.Boundary, NETWORK, free_modes=True),
    # Responses, rules, costs.
    "respond of an ensemble": call(jp.respond, NETWORKS, TASKS),
    "respond of one and many": call(jp.respond, NETWORK, TASKS),
    "respond of many and one": call(jp.respond, NETWORKS, TASK),
    "respond swapped": call(jp.respond, TASK, NETWORK),
    "respond to a boundary": call(jp.respond, NETWORK, BOUNDARY),
    "respond to another's task": call(jp.respond, NETWORK, BIG_TASK),
    "respond in another precision": call(jp.respond, SINGLE, TASK),
    "respond solver the class": call(jp.respond, NETWORK, TASK, solver=jp.StarMesh),
    "task_cost of an ensemble": call(jp.task_cost, NETWORKS, TASKS),
    "task_cost swapped": call(jp.task_cost, TASK, NETWORK),
    "accuracy of an ensemble": call(jp.accuracy, NETWORKS, TASKS),
    "rule on an ensemble": call(jp.ExactGradient(), NETWORKS, TASKS),
    "rule swapped": call(jp.CoupledLearning(), TASK, NETWORK),
    "rule on another's task": call(jp.EquilibriumPropagation(), NETWORK, BIG_TASK),
    "nudge a name": call(jp.CoupledLearning, "small"),
    "nudge negative": call(jp.EquilibriumPropagation, -1.0),
    "nudge None": call(jp.CoupledLearning, None),
    "symmetric a number": call(jp.EquilibriumPropagation, 0.1, 0.1),
    "mode unknown": call(jp.EquilibriumPropagation, 0.1, mode="newton"),
    # Tasks.
    "task of a network": call(jp.Task, NETWORK, force=np.eye(4)[:1], readout=np.eye(4)[2:3], targets=[[0.1]]),
    "task of text": call(jp.Task, BOUNDARY, force=[["a"] * 4], readout=np.eye(4)[2:3], targets=[[0.1]]),
    "task cost a name": call(
        jp.Task, BOUNDARY, force=np.eye(4)[1:2], readout=np.eye(4)[2:3], targets=[[0.1]], cost="mse"
    ),
    "task cost the class": call(
        jp.Task,
        BOUNDARY,
        force=np.eye(4)[1:2],
        readout=np.eye(4)[2:3],
        targets=[[0.1]],
        cost=jp.CosineDistance,
    ),
    "allostery swapped": call(jp.allostery, BOUNDARY, NETWORK, [1], [2], response=0.1),
    "allostery sources a number": call(jp.allostery, NETWORK, BOUNDARY, 1, [2], response=0.1),
    "allostery targets a number": call(jp.allostery, NETWORK, BOUNDARY, [1], 2, response=0.1),
    "allostery response a text": call(jp.allostery, NETWORK, BOUNDARY, [1], [2], response="much"),
    "allostery of an ensemble": call(jp.allostery, NETWORKS, BOUNDARY, [1], [2], response=0.1),
    "allostery another's boundary": call(jp.allostery, NETWORK, BIG_BOUNDARY, [1], [2], response=0.1),
    "regression matrix flat": call(
        jp.regression, NETWORK, BOUNDARY, [1], [2], matrix=[0.1], inputs=np.ones((2, 1))
    ),
    "regression of text": call(
        jp.regression, NETWORK, BOUNDARY, [1], [2], matrix="id", inputs=np.ones((2, 1))
    ),
    "classification labels of text": call(
        jp.classification, NETWORK, BOUNDARY, [1], [2, 3], features=np.ones((2, 1)), labels=["a", "b"]
    ),
    "random_linear a float": call(jp.random_linear, NODES, 1.5, KEY),
    "random_linear key a number": call(jp.random_linear, NODES, 1, 0),
    "random_linear of an ensemble": call(jp.random_linear, jp.stack([NODES] * 2), 1, KEY),
    # Networks and graphs.
    "network of edges": call(jp.FlowNetwork, EDGES),
    "network of nothing": call(jp.FlowNetwork, None),
    "network k a text": call(jp.FlowNetwork, GRAPH, "one"),
    "network k complex": call(jp.FlowNetwork, GRAPH, 1j),
    "springs of edges": call(jp.SpringNetwork, EDGES),
    "springs law": call(jp.SpringNetwork, SPRINGS.topology, law="tensor"),
    "node network of a text": call(jp.NodeNetwork, "W"),
    "matrix of text": call(jp.NodeNetwork.from_matrix, "W"),
    "erdos_renyi key a number": call(jp.erdos_renyi, 10, 15, 0),
    "erdos_renyi float sizes": call(jp.erdos_renyi, 10.0, 15.5, KEY),
    "square_lattice a number": call(jp.square_lattice, 4),
    "square_lattice floats": call(jp.square_lattice, (4.5, 4)),
    "triangular_lattice a number": call(jp.triangular_lattice, 4),
    "complete_graph a float": call(jp.complete_graph, 4.5),
    "jammed_packing key a number": call(jp.jammed_packing, 30, 0),
    "jammed_packing a float": call(jp.jammed_packing, 30.5, KEY),
    "stack a network": call(jp.stack, NETWORK),
    "stack a number": call(jp.stack, 3),
    "stack networks of two kinds": call(jp.stack, [NETWORK, SPRINGS]),
    "stack networks of two sizes": call(jp.stack, [NETWORK, BIG]),
    "stack numbers and text": call(jp.stack, ["a", "b"]),
    "member beyond": call(jp.member, NETWORKS, 3),
    "member a float": call(jp.member, NETWORKS, 1.0),
    "member a text": call(jp.member, NETWORKS, "1"),
    "member of one network": call(jp.member, NETWORK, 0),
    "member of a run": call(jp.member, RUN, 9),
    "member of a list": call(jp.member, [NETWORK, NETWORK], 1),
    "member of a list of tasks": call(jp.member, [TASK, TASK], 0),
    "member of a pair": call(jp.member, (NETWORK, TASK), 0),
    "with_k too long": call(NETWORK.with_k, np.ones(6)),
    "with_k too short": call(NETWORK.with_k, [1.0, 2.0]),
    "with_k a number": call(NETWORK.with_k, 1.0),
    "with_k a 0-d array": call(NETWORK.with_k, jnp.asarray(1.0)),
    "with_k a text": call(NETWORK.with_k, "ones"),
    "with_k nothing": call(NETWORK.with_k, None),
    "with_k complex": call(NETWORK.with_k, np.ones(5, complex)),
    "with_k words": call(NETWORK.with_k, np.array(["a"] * 5)),
    "with_k a ragged list": call(NETWORK.with_k, [[1.0], [1.0, 2.0]]),
    "with_k of springs": call(SPRINGS.with_k, np.ones(4)),
    "with_k of a node network": call(NODES.with_k, np.ones(7)),
    "with_k of an ensemble": call(NETWORKS.with_k, np.ones(5)),
    "with_k compiled": call(jax.jit(lambda k: NETWORK.with_k(k).k), np.ones(6)),
    # Transformations, steps, integrators.
    "bounds of text": call(jp.bounds, "low"),
    "bounds of nothing": call(jp.bounds),
    "update_noise of text": call(jp.update_noise, "small"),
    "participation of text": call(jp.participation, "half"),
    "precondition of a network": call(jp.precondition, NETWORK),
    "precondition of another size": train(optimizer=optax.chain(jp.precondition(np.ones(3)), optax.sgd(1.0))),
    "AdaptiveStep of text": call(jp.AdaptiveStep, "fast"),
    "AdaptiveStep NaN": call(jp.AdaptiveStep, 1.0, float("nan")),
    "AdaptiveStep infinite": call(jp.AdaptiveStep, float("inf")),
    "GradientFlow of text": call(jp.GradientFlow, "fast"),
    "GradientFlow method": call(jp.GradientFlow, method="euler"),
    "LevenbergMarquardt of text": call(jp.LevenbergMarquardt, "weak"),
    "LevenbergMarquardt damping of text": call(jp.LevenbergMarquardt, damping="low"),
    "CrossEntropy of text": call(jp.CrossEntropy, "cold"),
    # Solvers and what else there is.
    "choose_solver swapped": call(jp.choose_solver, TASK, NETWORK),
    "choose_solver a boundary": call(jp.choose_solver, NETWORK, BOUNDARY),
    "StarMesh of springs": call(jp.StarMesh.for_task, SPRINGS, TASK),
    "StarMesh of a boundary": call(jp.StarMesh.for_task, NETWORK, BOUNDARY),
    "SparseCholesky of nodes": call(jp.SparseCholesky.for_task, NODES, TASK),
    "concerns swapped": call(jp.concerns, TASK, NETWORK),
    "concerns of a boundary": call(jp.concerns, NETWORK, BOUNDARY),
    "realization_mesh a number": call(jp.realization_mesh, 2),
    "realization_mesh of nothing": call(jp.realization_mesh, []),
    "start_processes half": call(jp.start_processes, "host:1"),
    "inspect_network a file": call(jp.inspect_network, "net.csv"),
    "inspect_network an ensemble": call(jp.inspect_network, NETWORKS),
    "inspect_network of nothing": call(jp.inspect_network, None),
    "inspect_responses a network": call(jp.inspect_responses, NETWORK),
    "inspect_responses a text": call(jp.inspect_responses, "responses.csv"),
    "read_structure a number": call(jp.read_structure, 7),
    "elastic_network of text": call(jp.elastic_network, "ubiquitin"),
    "eigenvalues of an ensemble": call(jp.diagnostics.eigenvalues, NETWORKS, BOUNDARY),
    "eigenvalues of a task": call(jp.diagnostics.eigenvalues, NETWORK, TASK),
    "eigenvalues of a run": call(jp.diagnostics.eigenvalues, RUN.network, RUN.task.boundary),
    **{
        f"{name} of {case}": call(getattr(jp.diagnostics, name), *handed, *rest)
        for names, rest, pairs in MEASURES
        for name in names
        for case, handed in pairs.items()
    },
    "relative_conductance of an ensemble": call(jp.diagnostics.relative_conductance, NETWORKS),
    "relative_conductance of a graph": call(jp.diagnostics.relative_conductance, GRAPH),
    "free_subspace of a network": call(jp.diagnostics.free_subspace, NETWORK),
    "free_subspace of a task": call(jp.diagnostics.free_subspace, TASK),
    "mode_change of nodes": call(jp.diagnostics.mode_change, NETWORK, BOUNDARY, np.ones(3)),
    "mode_change of a list": call(jp.diagnostics.mode_change, NETWORK, BOUNDARY, [1.0, "a"]),
    "mode_change a rate by name": call(jp.diagnostics.mode_change, NETWORK, BOUNDARY, np.ones(5), rate="a"),
    "learning_direction rule a name": call(
        jp.diagnostics.learning_direction, NETWORK, TASK, rule="coupled_learning"
    ),
    "learning_direction metric short": call(
        jp.diagnostics.learning_direction, NETWORK, TASK, metric=np.ones(3)
    ),
    "cost_hessian_product of nodes": call(jp.diagnostics.cost_hessian_product, NETWORK, TASK, jnp.ones(3)),
    "discover without a key": call(jp.diagnostics.discover, jnp.eye(4), 0),
    "discover a network": call(jp.diagnostics.discover, NETWORK, KEY),
    "learnability of nothing": call(jp.diagnostics.learnability, *[jnp.zeros((0, 2))] * 2, jnp.zeros(0)),
    "learnability of text": call(jp.diagnostics.learnability, "a", jnp.ones((1, 2)), jnp.ones(1)),
    "capacity_curve without a key": call(jp.diagnostics.capacity_curve, "node", 3, 0),
    "capacity_curve of half a node": call(jp.diagnostics.capacity_curve, "node", 3.5, KEY),
    "free_dimension of a name": call(jp.diagnostics.free_dimension, "node", "a"),
    "response_cloud without a key": call(jp.diagnostics.response_cloud, NETWORK, BOUNDARY, 0),
    "task_learnability of a boundary": call(jp.diagnostics.task_learnability, BOUNDARY),
    "run_dataset a network": call(jp.io.run_dataset, NETWORK),
    "save_network a run": call(jp.io.save_network, RUN, FOLDER + "/network.json"),
    "save_network an ensemble": call(jp.io.save_network, NETWORKS, FOLDER + "/network.json"),
}


def ending(function):
    """How a call ends: the message of its refusal, or what else came of it."""
    signal.alarm(20)
    try:
        found = function()
    except jp.InputError as error:
        return "refused", str(error)
    except BaseException as error:
        return "raised", f"{type(error).__name__}: {error}"[:300]
    finally:
        signal.alarm(0)
    return "returned", repr(found)[:80]


def too_long(*_):
    raise TimeoutError("it does not end")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, too_long)
    wanted = sys.argv[1:]
    chosen = {name: function for name, function in CALLS.items() if not wanted or name in wanted}
    for name, function in chosen.items():
        print(json.dumps([name, *ending(function)]), flush=True)
