"""Kinds of networks as users write them, which say as little as can be said."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

import jaxphys as jp

WORDS = {"strength": "k", "strengths": "k", "coordinate": "deflection", "force": "load"}


class Hinges(jp.AbstractStrainNetwork):
    """Bends of three nodes in a row: `eᵢ = ½ (x_a - 2 x_b + x_c)²`, by its strain."""

    kind = jp.NetworkKind(tag="test hinges", name="row of hinges", strain="bend", parts=("middle",), **WORDS)
    dimension: ClassVar[int] = 1
    topology: jp.Topology
    k: Float[Array, " M"]
    middle: Int[Array, " M"]

    def __check_init__(self):
        if self.middle.max() >= self.num_nodes:
            raise jp.InputError("`middle` must name nodes, but it does not.")

    def strains(self, x):
        a, c = self.topology.edges.T
        return (x[..., a] - 2 * x[..., self.middle] + x[..., c])[..., None]


class Products(jp.AbstractNetwork):
    """By nothing but its energy, which may be negative: `eᵢ = x_a (x_b - x_c)`, both coordinates alike."""

    kind = jp.NetworkKind(tag="test products", name="products", positive_k=False, parts=("middle",), **WORDS)
    dimension: ClassVar[int] = 2
    topology: jp.Topology
    k: Float[Array, " M"]
    middle: Int[Array, " M"]

    def edge_energies(self, x):
        x = x.reshape(*x.shape[:-1], self.num_nodes, 2)
        a, c = self.topology.edges.T
        return jnp.sum(x[..., a, :] * (x[..., self.middle, :] - x[..., c, :]), axis=-1)


def of_three(build):
    """Rows of three on a chain of five nodes, and one across."""
    return build(jp.from_edges([(0, 2), (1, 3), (2, 4), (0, 4)]), jnp.ones(4), jnp.array([1, 2, 3, 2]))


def of_six(build=Hinges, last=(1, 3, 5)):
    """Rows of three among six nodes on a line."""
    rows = np.array([(0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 2, 4), last])
    return build(jp.from_edges(rows[:, [0, 2]]), jnp.linspace(0.5, 2.0, 6), jnp.asarray(rows[:, 1]))
