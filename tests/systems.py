"""Networks whose equilibrium is known in closed form.

Each function returns a `System`: what to hand to `equilibrate`, and the coordinates and
reactions that must come out. A reaction λ is minus the force or current that it takes to hold a
row, from `H x + Cᵀ λ = F`. Rows come in the order held nodes, held drops, grounds, projected
free motions.
"""

import functools
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

import jaxphys as jp
from jaxphys.checks import certificate

# Compiled as a whole: op by op, every new shape would compile thirty little programs.
equilibrate = eqx.filter_jit(jp.equilibrate)


class System(NamedTuple):
    """A network under its boundary, what drives it, and the state that must come out."""

    network: jp.AbstractNetwork
    boundary: jp.Boundary
    force: np.ndarray | None
    values: np.ndarray | None
    x: np.ndarray
    reaction: np.ndarray

    def solve(self, solver):
        """The state that the library finds."""
        # Zeros where nothing drives, so that systems of equal size share one compiled program.
        n, held = self.network.num_coordinates, self.boundary.num_held
        force = jnp.asarray(np.zeros(n) if self.force is None else self.force)
        values = jnp.asarray(np.zeros(held) if self.values is None else self.values)
        return equilibrate(self.network, self.boundary, force, values, solver=solver)


def _resistors(edges, k):
    return jp.FlowNetwork(jp.from_edges(edges), k=np.asarray(k, dtype=float))


def divider_held(first=1.0, second=3.0, voltage=2.0):
    """Voltage divider 0 - 1 - 2: node 0 held at V, node 2 grounded.

    One current flows through both, `I = V k₁k₂ / (k₁ + k₂)`, so `x₁ = I / k₂ = V k₁ / (k₁ + k₂)`.
    Holding node 0 takes the current I, holding node 2 takes -I.
    """
    network = _resistors([(0, 1), (1, 2)], [first, second])
    boundary = jp.Boundary(network, held_nodes=[0], ground=[2])
    current = voltage * first * second / (first + second)
    return System(
        network,
        boundary,
        None,
        np.array([voltage]),
        np.array([voltage, current / second, 0.0]),
        np.array([-current, current]),
    )


def divider_driven(first=1.0, second=3.0, current=0.7):
    """The divider with a current I into node 0, out at the ground: `x₁ = I / k₂`, `x₀ = I / k₁ + I / k₂`."""
    network = _resistors([(0, 1), (1, 2)], [first, second])
    boundary = jp.Boundary(network, ground=[2])
    x = np.array([current / first + current / second, current / second, 0.0])
    return System(network, boundary, np.array([current, 0.0, 0.0]), None, x, np.array([current]))


def divider_mixed(first=1.0, second=3.0, voltage=2.0, current=0.7):
    """The divider with node 0 held at V and a current J into node 1: `(k₁ + k₂) x₁ = k₁ V + J`.

    Holding node 0 takes `k₁ (V - x₁)`, the ground takes `-k₂ x₁`.
    """
    network = _resistors([(0, 1), (1, 2)], [first, second])
    boundary = jp.Boundary(network, held_nodes=[0], ground=[2])
    middle = (first * voltage + current) / (first + second)
    return System(
        network,
        boundary,
        np.array([0.0, current, 0.0]),
        np.array([voltage]),
        np.array([voltage, middle, 0.0]),
        np.array([-first * (voltage - middle), second * middle]),
    )


def divider_drop(first=1.0, second=3.0, voltage=2.0):
    """The divider with the drop `x₀ - x₂ = V` held and node 1 grounded.

    Minimising `½ k₁ x₀² + ½ k₂ x₂²` gives `k₁ x₀ + k₂ x₂ = 0`: `x₀ = V k₂ / (k₁ + k₂)`,
    `x₂ = -V k₁ / (k₁ + k₂)`. The source carries `I = V k₁k₂ / (k₁ + k₂)`, the ground nothing.
    """
    network = _resistors([(0, 1), (1, 2)], [first, second])
    boundary = jp.Boundary(network, held_drops=[(0, 2)], ground=[1])
    total = first + second
    return System(
        network,
        boundary,
        None,
        np.array([voltage]),
        np.array([voltage * second / total, 0.0, -voltage * first / total]),
        np.array([-voltage * first * second / total, 0.0]),
    )


def divider_floating_drop(first=1.0, second=3.0, voltage=2.0):
    """The divider with the drop `x₀ - x₂ = V` held and nothing grounded: the divider less its mean voltage.

    Projecting the uniform mode out takes no current, so its reaction is zero.
    """
    network = _resistors([(0, 1), (1, 2)], [first, second])
    boundary = jp.Boundary(network, held_drops=[(0, 2)], free_modes="project")
    x = voltage * np.array([1.0, first / (first + second), 0.0])
    current = voltage * first * second / (first + second)
    return System(network, boundary, None, np.array([voltage]), x - x.mean(), np.array([-current, 0.0]))


def divider_floating_driven(first=1.0, second=3.0, current=0.7):
    """A current I into node 0 of the floating divider, extracted evenly: `I/3` from each node.

    What node 0 sends on is `2I/3 = k₁ (x₀ - x₁)`, and `I/3 = k₂ (x₁ - x₂)` reaches node 2; the mean
    voltage is zero. The projected row is `(1, 1, 1)/√3`, its reaction `I/√3`.
    """
    network = _resistors([(0, 1), (1, 2)], [first, second])
    boundary = jp.Boundary(network, free_modes="project")
    x = np.array([2 * current / (3 * first), 0.0, -current / (3 * second)])
    force = np.array([current, 0.0, 0.0])
    return System(network, boundary, force, None, x - x.mean(), np.array([current / np.sqrt(3)]))


def wheatstone_bridge(voltage=5.0, arms=(1.0, 2.0, 3.0, 5.0), bridge=0.5):
    """Wheatstone bridge: node 0 held at V, node 3 grounded, arms a, b, c, d and the bridge g.

    a joins 0-1, b 0-2, c 1-3, d 2-3, g 1-2. Currents balance at nodes 1 and 2:
    `(a + c + g) x₁ - g x₂ = a V`, `-g x₁ + (b + d + g) x₂ = b V`, solved by Cramer's rule. The bridge
    carries nothing when `a d = b c`.
    """
    a, b, c, d = arms
    network = _resistors([(0, 1), (0, 2), (1, 3), (2, 3), (1, 2)], [a, b, c, d, bridge])
    boundary = jp.Boundary(network, held_nodes=[0], ground=[3])
    determinant = (a + c + bridge) * (b + d + bridge) - bridge**2
    left = voltage * (a * (b + d + bridge) + b * bridge) / determinant
    right = voltage * (b * (a + c + bridge) + a * bridge) / determinant
    supply = a * (voltage - left) + b * (voltage - right)
    x = np.array([voltage, left, right, 0.0])
    return System(network, boundary, None, np.array([voltage]), x, np.array([-supply, supply]))


def balanced_bridge(voltage=5.0, ratio=2.0, bridge=0.5):
    """The bridge with `a d = b c`: both middle nodes sit at `V a / (a + c)`, whatever the bridge."""
    system = wheatstone_bridge(voltage, (1.0, ratio, 3.0, 3.0 * ratio), bridge)
    middle = voltage / 4
    supply = (1.0 + ratio) * (voltage - middle)
    return system._replace(x=np.array([voltage, middle, middle, 0.0]), reaction=np.array([-supply, supply]))


def ladder(sections=7, voltage=1.0):
    """A ladder of unit resistors: one in series and one to ground per section.

    Seen from its end, the resistance grows by continued fractions, `R ← 1 + 1/(1 + 1/R)`, so
    the voltages fall as every other Fibonacci number: `x_j = V f(2(n - j) + 1) / f(2n + 1)`. Node
    n + 1 is the ground. The source gives `V f(2n) / f(2n + 1)`.
    """
    fibonacci = [0, 1]
    while len(fibonacci) < 2 * sections + 2:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    ground = sections + 1
    series = [(j, j + 1) for j in range(sections)]
    shunts = [(j + 1, ground) for j in range(sections)]
    network = _resistors(series + shunts, np.ones(2 * sections))
    boundary = jp.Boundary(network, held_nodes=[0], ground=[ground])
    first = fibonacci[2 * sections + 1]
    x = [voltage * fibonacci[2 * (sections - j) + 1] / first for j in range(sections + 1)]
    current = voltage * fibonacci[2 * sections] / first
    return System(
        network, boundary, None, np.array([voltage]), np.array([*x, 0.0]), np.array([-current, current])
    )


def _bond(direction):
    direction = np.asarray(direction, dtype=float)
    unit = direction / np.linalg.norm(direction)
    return jp.from_edges([(0, 1)], positions=np.stack([np.zeros_like(unit), 1.5 * unit])), unit


def one_spring(direction=(3.0, 4.0), stiffness=2.5, force=0.3):
    """One spring along n, pulled at both ends: it grows by `f / k`, half at each end.

    Rigid motions are projected out. The two forces balance along every rigid motion, so nothing reacts.
    """
    topology, unit = _bond(direction)
    network = jp.SpringNetwork(topology, k=stiffness)
    boundary = jp.Boundary(network, free_modes="project")
    dimension = len(unit)
    # Five motions in 3-D, not six: turning about the bond moves nothing.
    motions = {2: 3, 3: 5}[dimension]
    x = np.concatenate([-unit, unit]) * force / (2 * stiffness)
    return System(
        network, boundary, np.concatenate([-force * unit, force * unit]), None, x, np.zeros(motions)
    )


def one_spring_in_space():
    """The same spring in 3-D."""
    return one_spring(direction=(1.0, 2.0, -2.0))


def stretched_spring(direction=(3.0, 4.0), stiffness=2.5, extension=0.2):
    """One spring held at extension e: each end moves by e/2 along the bond, and it takes the force `k e`."""
    topology, unit = _bond(direction)
    network = jp.SpringNetwork(topology, k=stiffness)
    boundary = jp.Boundary(network, held_drops=[(1, 0)], free_modes="project")
    x = np.concatenate([-unit, unit]) * extension / 2
    return System(
        network, boundary, None, np.array([extension]), x, np.array([-stiffness * extension, 0, 0, 0])
    )


def vector_spring(stiffness=2.5, force=(0.3, -0.7)):
    """One spring of the literal vector law, node 0 grounded: it gives in every direction, `x₁ = F / k`."""
    topology, _ = _bond((3.0, 4.0))
    network = jp.SpringNetwork(topology, k=stiffness, law="vector")
    boundary = jp.Boundary(network, ground=[0])
    force = np.asarray(force)
    nothing = np.zeros(2)
    return System(
        network,
        boundary,
        np.concatenate([nothing, force]),
        None,
        np.concatenate([nothing, force / stiffness]),
        force,
    )


HEIGHT = np.sqrt(3) / 2
LEGS = np.array([[0.5, HEIGHT], [-0.5, HEIGHT]])


def _triangle(k):
    positions = [[0.0, 0.0], [1.0, 0.0], [0.5, HEIGHT]]
    return jp.SpringNetwork(
        jp.from_edges([(0, 1), (2, 0), (2, 1)], positions=positions), k=np.asarray(k, dtype=float)
    )


def triangle_breathing(stiffness=4.0, force=0.6):
    """Equilateral triangle of equal springs, outward forces f on all corners: each moves out by `f / 3k`.

    Two tensions t at 30° balance f: `f = √3 t`. A side grows by `√3 u` when its corners move out by
    u, so `t = √3 k u`. Rigid motions are projected out and take no force.
    """
    network = _triangle([stiffness] * 3)
    boundary = jp.Boundary(network, free_modes="project")
    positions = np.asarray(network.topology.positions)
    outwards = positions - positions.mean(axis=0)
    outwards = (outwards / np.linalg.norm(outwards, axis=1, keepdims=True)).ravel()
    return System(network, boundary, force * outwards, None, outwards * force / (3 * stiffness), np.zeros(3))


def triangle_loaded(base=1.0, left=2.0, right=5.0, force=(0.3, -0.8)):
    """A two-bar truss: the base corners grounded, a force on the apex.

    With legs along `(±½, h)`, `h = √3/2`, statics alone gives the tensions `t = F_y/2h ± F_x`; the legs
    grow by `e = t / k`, and `u_x = e₁ - e₂`, `u_y = (e₁ + e₂)/2h`. The base feels nothing. Ground a
    takes minus the pull of its leg.
    """
    network = _triangle([base, left, right])
    boundary = jp.Boundary(network, ground=[0, 1])
    tensions = np.array([force[1] / (2 * HEIGHT) + force[0], force[1] / (2 * HEIGHT) - force[0]])
    e = tensions / np.array([left, right])
    x = np.array([0, 0, 0, 0, e[0] - e[1], (e[0] + e[1]) / (2 * HEIGHT)])
    reaction = (tensions[:, None] * LEGS).ravel()
    return System(network, boundary, np.array([0, 0, 0, 0, *force]), None, x, reaction)


def triangle_held(base=1.0, left=2.0, right=5.0, displacement=(0.1, 0.25)):
    """The truss with its apex held at u: leg i pulls with `kᵢ (nᵢ·u) nᵢ`.

    It takes the sum of the pulls to hold the apex, and minus each of them at its ground.
    """
    network = _triangle([base, left, right])
    boundary = jp.Boundary(network, held_nodes=[2], ground=[0, 1])
    u = np.asarray(displacement)
    pulls = (np.array([left, right]) * (LEGS @ u))[:, None] * LEGS
    x = np.concatenate([np.zeros(4), u])
    return System(network, boundary, None, u, x, np.concatenate([-pulls.sum(axis=0), pulls.ravel()]))


def triangle_spread(base=1.0, left=2.0, right=5.0, extension=0.12):
    """The triangle with its base held at extension e: only the base is strained.

    Rigid motions are projected out. The legs keep their length if the apex sinks by `e/4h` against
    the base, so the base corners are at `(±e/2, e/12h)` and the apex at `(0, -e/6h)` from the centre
    of mass. It takes the force `k₀ e`.
    """
    network = _triangle([base, left, right])
    boundary = jp.Boundary(network, held_drops=[(1, 0)], free_modes="project")
    lift = extension / (12 * HEIGHT)
    x = np.array([-extension / 2, lift, extension / 2, lift, 0.0, -2 * lift])
    return System(network, boundary, None, np.array([extension]), x, np.array([-base * extension, 0, 0, 0]))


def node_pair(first=2.0, coupling=-0.5, second=3.0, force=(1.0, -2.0)):
    """A node network of two nodes: `W x = F` by Cramer's rule, nothing held."""
    network = jp.NodeNetwork(np.array([first, coupling, second]))
    determinant = first * second - coupling**2
    x = (
        np.array([second * force[0] - coupling * force[1], first * force[1] - coupling * force[0]])
        / determinant
    )
    return System(network, jp.Boundary(network), np.asarray(force), None, x, np.zeros(0))


ALL = (
    divider_held,
    divider_driven,
    divider_mixed,
    divider_drop,
    divider_floating_drop,
    divider_floating_driven,
    wheatstone_bridge,
    balanced_bridge,
    ladder,
    one_spring,
    one_spring_in_space,
    stretched_spring,
    vector_spring,
    triangle_breathing,
    triangle_loaded,
    triangle_held,
    triangle_spread,
    node_pair,
)


@functools.cache
def certified_systems(seed):
    """The systems of the certificate: every kind of network under every kind of boundary, drawn once."""
    return tuple(certificate.systems(seed))
