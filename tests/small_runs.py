"""What trains in a moment: a config, and networks of every kind with a task."""

import jax
import numpy as np

import jaxphys as jp

# A config of the command line.
CLASSIFICATION = """
seed = 1
realizations = 4
steps = 40
record_every = 10
[network]
nodes = 8
[task]
kind = "classification"
train_per_class = 5
[optimizer]
adaptive = true
"""


def flow(number):
    network = jp.FlowNetwork(jp.erdos_renyi(9, 15, jax.random.key(number)), k=1.5)
    boundary = jp.Boundary(network, held_nodes=[1, 2], ground=[0])
    inputs = np.array([[1.0, -0.5], [0.2, 1.0]])
    values = np.eye(2)
    force = np.zeros((2, 9))
    force[1, 4] = 0.3
    task = jp.Task(
        boundary,
        force=force,
        values=values,
        inputs=inputs,
        readout=np.eye(9)[[7]],
        targets=np.array([[0.4], [0.1]]),
    )
    return network, task


def floating(number):
    network = jp.FlowNetwork(jp.erdos_renyi(8, 12, jax.random.key(number)))
    return network, jp.allostery(network, jp.Boundary(network, free_modes="project"), [1], [5], response=0.2)


def spring(law):
    def draw(number):
        topology = jp.triangular_lattice((3, 4))
        k = jax.random.uniform(jax.random.key(number), (topology.num_edges,), minval=0.5, maxval=1.5)
        network = jp.SpringNetwork(topology, k=k, law=law)
        boundary = jp.Boundary(network, ground=[0, 3])
        return network, jp.allostery(
            network,
            boundary,
            [5],
            [10],
            response=0.2,
            source_directions=np.array([[1.0, 0.0]]),
            target_directions=np.array([[0.6, 0.8]]),
        )

    return draw


def node(number):
    matrix = np.diag(np.linspace(3, 5, 6)) + 0.1 * np.ones((6, 6))
    network = jp.NodeNetwork.from_matrix(matrix * (1 + 0.1 * number))
    return network, jp.allostery(network, jp.Boundary(network), [1], [4], response=0.2)


# A network and its task for each number: `DRAWN["held"](3)`.
DRAWN = {
    "held": flow,
    "floating": floating,
    "central": spring("central"),
    "vector": spring("vector"),
    "node": node,
}
