"""Jammed packings of soft discs and spheres, and the graphs of their contacts."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxphys._checks import InputError, check_count, check_indices, check_key, require
from jaxphys.networks.generators import host_generator
from jaxphys.networks.topology import Topology, component_labels, from_edges

# Half of the particles are larger by this factor, which keeps them from crystallising (O'Hern et al., 2003).
_RATIO = 1.4
_DENSITY = {2: 0.86, 3: 0.68}
# Neighbours closer than contact plus this are listed, at most so many; the list holds until one has moved
# half as far.
_SKIN = 0.35
_LISTED = {2: 24, 3: 64}
# Forces are balanced where the worst net force is this small beside the mean contact force.
_BALANCED = 1e-11
# No list of positions in double precision balances better than this many of their roundings.
_ROUNDINGS = 4
_MOST_STEPS = 200_000
# Pressure below which particles have found room; jammed packings lie decades above.
_UNJAMMED = 1e-7
_BALL = {2: np.pi / 4, 3: np.pi / 6}


@dataclasses.dataclass(frozen=True)
class Packing:
    """A jammed packing and the graph of its contacts; lengths in diameters of the small particles.

    - `topology`: its nodes are the particles that are left after rattlers (and, for an open boundary,
      dangling ones) were removed, numbered anew; with positions, and with the box if that is periodic.
    - `particles`: `(N,)` which of the `num_particles` each node is. `radii`: `(N,)`.
    - `packing_fraction`: of all particles. `pressure`: in units of the contact stiffness, whose energy is
      `½ (1 - r/σ)²`, over the small diameter to the power of the dimension.
    - `residual`: the largest net force on any particle over the mean contact force, with all contacts that
      the box has. Like `pressure` it is that of positions and box as `topology` stores them.
    """

    topology: Topology
    particles: Int[np.ndarray, " N"]
    radii: Float[np.ndarray, " N"]
    packing_fraction: float
    pressure: float
    residual: float
    num_particles: int

    @property
    def mean_degree(self) -> float:
        """`Z = 2 M / N`."""
        return 2 * self.topology.num_edges / self.topology.num_nodes

    def node(self, particle: int) -> int:
        """The node that a particle became; raises `InputError` if it was removed."""
        check_indices("particle", [particle], self.num_particles, "particles")
        found = np.flatnonzero(self.particles == particle)
        require(
            found.size == 1,
            "particle",
            "be one that bears load",
            f"particle {particle} is a rattler or dangles, and was removed",
        )
        return int(found[0])


def jammed_packing(
    num_particles: int,
    key: Key[Array, ""],
    *,
    dimension: int = 2,
    packing_fraction: float | None = None,
    pressure: float | None = None,
    boundary: str = "periodic",
    num_nodes: int | None = None,
) -> Packing:
    """Pack soft discs (spheres) at random until forces balance, and join those that touch.

    Half of the particles are 1.4 times as large. They start anywhere in a periodic box; the energy of their
    harmonic overlaps is minimised (FIRE, Bitzek et al., 2006) until net forces are below
    `1e-11 + 4 ε L / ⟨f⟩` of the mean contact force ⟨f⟩: the second term is the rounding of positions in a box
    of side L, and counts at pressures below 1e-3. That is in double precision, whatever networks have;
    positions that are stored in single precision balance no better than their rounding allows, and `residual`
    says how well. Particles with fewer than `dimension + 1` contacts are rattlers, and removed.

    **Arguments**

    - `packing_fraction`: of the box, 0.86 (0.68 in 3-D) if neither it nor the pressure is given.
      `pressure`: of the final packing, whose box then adapts.
    - `boundary`: `"open"` cuts the contacts that cross the box, which leaves a planar graph in 2-D unless
      particles overlap by half, and removes what then hangs on a single contact; the topology has no box.
    - `num_nodes`: remove nodes from the rim on (far from the centre first) until so many are left, connected
      and none dangling; so packings can be stacked, their edges `padded` to one number.

    Lengths are in diameters of the small particles. Raises `InputError` on arguments out of range, on a
    packing that does not jam, and if `num_nodes` cannot be reached.

    >>> import jax, jaxphys as jp
    >>> packing = jp.jammed_packing(40, jax.random.key(0), boundary="open")
    >>> packing.topology.is_connected(), packing.residual < 1e-10
    (True, True)
    """
    return jammed_packings(
        num_particles,
        [key],
        dimension=dimension,
        packing_fraction=packing_fraction,
        pressure=pressure,
        boundary=boundary,
        num_nodes=num_nodes,
    )[0]


def jammed_packings(
    num_particles: int,
    keys: Key[Array, " R"] | Sequence[Key[Array, ""]],
    *,
    dimension: int = 2,
    packing_fraction: float | None = None,
    pressure: float | None = None,
    boundary: str = "periodic",
    num_nodes: int | None = None,
) -> list[Packing]:
    """Jammed packings, one for each of R keys, relaxed one after the other by one compiled program.

    Arguments, units and errors are those of `jammed_packing`; a key gives the same packing there.
    """
    require(dimension in (2, 3), "dimension", "be 2 or 3", f"it is {dimension}")
    require(num_particles >= 8, "num_particles", "be at least 8", f"it is {num_particles}")
    require(boundary in ("periodic", "open"), "boundary", 'be "periodic" or "open"', f"it is {boundary!r}")
    both = packing_fraction is not None and pressure is not None
    require(not both, "pressure", "be None beside `packing_fraction`", "both are set")
    density = _DENSITY[dimension] if packing_fraction is None else packing_fraction
    check_count("num_particles", num_particles)
    for key in keys:
        check_key("key", key)
    require(0 < density < 2, "packing_fraction", "lie between 0 and 2", f"it is {packing_fraction}")
    require(pressure is None or pressure > 0, "pressure", "be positive", f"it is {pressure}")
    most = num_particles if num_nodes is None else num_nodes
    require(0 < most <= num_particles, "num_nodes", f"be at most {num_particles}", f"it is {num_nodes}")
    diameters = np.where(np.arange(num_particles) < num_particles // 2, 1.0, _RATIO)
    side = _side(diameters, density, dimension)
    # Else a particle would touch two images of another.
    room = 2 * (_RATIO + _SKIN) * (1.0 if pressure is None else 1.1)
    require(
        side >= room,
        "num_particles",
        f"fill a box of {room:.2g} small diameters, in which nobody meets two images of another",
        f"{num_particles} fill one of {side:.2g}",
    )
    starts = side * np.stack([host_generator(k).random((num_particles, dimension)) for k in keys])
    # Draws and packings are the same whatever precision the networks will have.
    with jax.enable_x64(True):
        relaxed = jax.device_get(
            _relaxed(jnp.asarray(starts), jnp.asarray(diameters), side, pressure or 0.0, pressure is not None)
        )
    return [_packing(_Relaxed(*each), diameters, boundary, num_nodes) for each in zip(*relaxed, strict=True)]


def _side(diameters: np.ndarray, density: float, dimension: int) -> float:
    """Of the box that particles fill to a density."""
    return float((_BALL[dimension] * np.sum(diameters**dimension) / density) ** (1 / dimension))


# Of no shape, traced or not.
_Scalar = Array | np.ndarray | np.floating | float


class _Relaxed(NamedTuple):
    """Positions, the box's side, and whether lists of neighbours were long enough."""

    # Arrays of JAX while they are computed, of NumPy afterwards.
    positions: Any
    side: Any
    listed: Any


class _Motion(NamedTuple):
    """Where FIRE stands: coordinates, velocities, forces; time step, mixing, steps downhill and in all."""

    x: Array
    velocity: Array
    force: Array
    step: Array
    mixing: Array
    downhill: Array
    taken: Array


@partial(jax.jit, static_argnums=4)
def _relaxed(
    starts: Float[Array, "R n d"],
    diameters: Float[Array, " n"],
    side: _Scalar,
    pressure: _Scalar,
    breathes: bool,
) -> _Relaxed:
    def both(start: Array) -> _Relaxed:
        # Once more at rest in the box that was found: to bring positions into it rounds them.
        def phase(found: _Relaxed, moves: Array) -> tuple[_Relaxed, None]:
            places, box, complete = _relax(
                found.positions, diameters=diameters, side=found.side, pressure=pressure, breathes=moves
            )
            return _Relaxed(places, box, complete & found.listed), None

        first = _Relaxed(start, jnp.asarray(side, start.dtype), jnp.asarray(True))
        return jax.lax.scan(phase, first, jnp.arange(2 if breathes else 1) < int(breathes))[0]

    return jax.lax.map(both, starts)


def _relax(
    start: Float[Array, "n d"],
    *,
    diameters: Float[Array, " n"],
    side: _Scalar,
    pressure: _Scalar,
    breathes: Bool[Array, ""],
) -> _Relaxed:
    """Minimise the energy (with `breathes` the enthalpy, over the box too) by FIRE on neighbour lists.

    The last coordinate is the logarithm of the box's side over its first value, in units that make it about
    as stiff as a particle.
    """
    size, dimension = start.shape
    unit = 1 / (dimension * np.sqrt(size))
    length = min(_LISTED[dimension], size - 1)

    def listed(x: Array) -> tuple[Array, Array, Array]:
        box = side * jnp.exp(unit * x[-1])
        return _neighbours(_places(x, start.shape), diameters, side, box, length)

    def forces(x: Array, others: Array, near: Array) -> tuple[Array, Array]:
        """Minus the gradient of the energy, and the mean contact force."""
        stretch = jnp.exp(unit * x[-1])
        places = _places(x, start.shape)
        bonds = stretch * _nearest(places[:, None] - places[others], side)
        distance = jnp.sqrt(jnp.sum(bonds**2, axis=-1) + jnp.finfo(x.dtype).tiny)
        contact = (diameters[:, None] + diameters[others]) / 2
        push = jnp.where(near, jnp.maximum(1 - distance / contact, 0) / contact, 0)
        on_particles = jnp.sum((push / distance)[..., None] * bonds, axis=1)
        # Every contact is listed twice.
        virial = jnp.sum(push * distance) / 2
        volume = (side * stretch) ** dimension
        on_box = jnp.where(breathes, unit * (virial - dimension * pressure * volume), 0)
        contacts = jnp.maximum(jnp.sum((push > 0).astype(push.dtype)), 1)
        force = jnp.append((stretch * on_particles).ravel(), on_box)
        return force, jnp.sum(push) / contacts

    def balanced(force: Array, contact_force: Array) -> Array:
        # Half of what is promised: sums in another order round otherwise.
        net = jnp.max(jnp.linalg.norm(_places(force, start.shape), axis=-1))
        return jnp.maximum(net, jnp.abs(force[-1])) <= 0.5 * _tolerance(contact_force, side) * contact_force

    def block(carry: tuple[_Motion, Array, Array]) -> tuple[_Motion, Array, Array]:
        """Steps until the list of neighbours is out of date."""
        motion, _, complete = carry
        others, near, enough = listed(motion.x)
        origin = motion.x

        def go_on(state: tuple[_Motion, Array]) -> Array:
            motion, done = state
            moved = jnp.linalg.norm(_places(motion.x - origin, start.shape), axis=-1)
            grown = jnp.abs(motion.x[-1] - origin[-1]) * unit * 2 * side
            return ~done & (jnp.max(moved) + grown < _SKIN / 2) & (motion.taken < _MOST_STEPS)

        def advance(state: tuple[_Motion, Array]) -> tuple[_Motion, Array]:
            motion, contact_force = _fire(state[0], lambda x: forces(x, others, near))
            return motion, balanced(motion.force, contact_force)

        force, contact_force = forces(motion.x, others, near)
        motion = motion._replace(force=force)
        motion, done = jax.lax.while_loop(go_on, advance, (motion, balanced(force, contact_force)))
        return motion, done, complete & jnp.all(enough)

    x = jnp.append(start.ravel(), 0.0)
    zero = jnp.zeros_like(x)
    motion = _Motion(x, zero, zero, jnp.asarray(0.05), jnp.asarray(0.1), jnp.asarray(0), jnp.asarray(0))
    motion, _, complete = jax.lax.while_loop(
        lambda carry: ~carry[1] & (carry[0].taken < _MOST_STEPS),
        block,
        (motion, jnp.asarray(False), jnp.asarray(True)),
    )
    stretch = jnp.exp(unit * motion.x[-1])
    places = stretch * _places(motion.x, start.shape)
    return _Relaxed(places - side * stretch * jnp.floor(places / (side * stretch)), side * stretch, complete)


def _neighbours(
    places: Float[Array, "n d"], diameters: Float[Array, " n"], side: _Scalar, box: _Scalar, length: int
) -> tuple[Array, Array, Array]:
    """The nearest others of each particle, whether they count, and whether they are all."""
    bonds = _nearest(places[:, None] - places[None], side) * box / side
    gaps = jnp.linalg.norm(bonds, axis=-1)
    gaps = gaps - (diameters[:, None] + diameters[None]) / 2
    gaps = jnp.where(jnp.eye(len(places), dtype=bool), jnp.inf, gaps)
    nearest, others = jax.lax.top_k(-gaps, length)
    # The last of a full list must lie beyond what matters, unless there are no others.
    return others, nearest > -_SKIN, (-nearest[:, -1] > _SKIN) | (length == len(places) - 1)


def _fire(motion: _Motion, forces: Callable[[Array], tuple[Array, Array]]) -> tuple[_Motion, Array]:
    """One step of FIRE: velocities turn towards forces, and stop dead where they point uphill."""
    x, velocity, force, step, mixing, downhill, taken = motion
    power = jnp.sum(force * velocity)
    goes_down = power > 0
    size = jnp.linalg.norm(velocity) / jnp.maximum(jnp.linalg.norm(force), jnp.finfo(x.dtype).tiny)
    velocity = jnp.where(goes_down, (1 - mixing) * velocity + mixing * size * force, 0)
    downhill = jnp.where(goes_down, downhill + 1, 0)
    for_long = downhill > 5
    step = jnp.where(goes_down, jnp.where(for_long, jnp.minimum(1.1 * step, 0.6), step), 0.5 * step)
    mixing = jnp.where(goes_down, jnp.where(for_long, 0.99 * mixing, mixing), 0.1)
    velocity = velocity + step * force
    x = x + step * velocity
    force, contact_force = forces(x)
    return _Motion(x, velocity, force, step, mixing, downhill, taken + 1), contact_force


def _tolerance(contact_force: _Scalar, side: _Scalar) -> _Scalar:
    """Up to which net force over the mean contact force particles count as balanced."""
    return _BALANCED + _ROUNDINGS * float(np.finfo(float).eps) * side / contact_force


def _places(x: Array, shape: tuple[int, ...]) -> Array:
    return x[:-1].reshape(shape)


def _nearest(differences: Array, side: _Scalar) -> Array:
    """Nearest images in a periodic box."""
    return differences - side * jnp.round(differences / side)


def _packing(relaxed: _Relaxed, diameters: np.ndarray, boundary: str, num_nodes: int | None) -> Packing:
    """The graph of contacts of one packing, without what bears no load."""
    size, dimension = relaxed.positions.shape
    fraction = _BALL[dimension] * np.sum(diameters**dimension) / relaxed.side**dimension
    pairs = np.stack(np.triu_indices(size, 1), axis=1)
    bonds = relaxed.positions[pairs[:, 0]] - relaxed.positions[pairs[:, 1]]
    images = np.round(bonds / relaxed.side)
    distances = np.linalg.norm(bonds - relaxed.side * images, axis=1)
    touching = distances < diameters[pairs].mean(axis=1)
    edges, crossing = pairs[touching], images[touching].any(axis=1)
    kept = _core(edges, size, dimension + 1)
    rest = _at_rest(relaxed.positions, relaxed.side, edges, diameters)
    if rest.pressure <= _UNJAMMED or not kept.any():
        raise InputError(
            f"The packing does not jam: {size} particles find room at packing fraction {fraction:.3g}; raise "
            "`packing_fraction`, or set `pressure`."
        )
    if not relaxed.listed:
        raise InputError(
            f"The packing is too dense: a particle has over {_LISTED[dimension]} others near it; lower "
            "`packing_fraction` or `pressure`."
        )
    if rest.residual > _tolerance(rest.contact_force, relaxed.side):
        raise InputError(
            f"The packing comes to no rest within {_MOST_STEPS} steps (net force {rest.residual:.1g} of the "
            "contact force); give it another key, or a higher packing fraction or pressure."
        )
    # As it is handed out: networks may have less than double precision.
    places, side = (np.asarray(jnp.asarray(each), float) for each in relaxed[:2])
    stored = _at_rest(places, side, edges, diameters)
    if boundary == "open":
        edges = _within(edges[~crossing], kept)
        kept = _core(edges, size, 2)
    kept = _largest(_within(edges, kept), kept)
    if num_nodes is not None:
        kept = _trimmed(_within(edges, kept), kept, relaxed.positions - relaxed.side / 2, num_nodes)
    particles, numbers = np.flatnonzero(kept), np.cumsum(kept) - 1
    topology = from_edges(
        numbers[_within(edges, kept)],
        num_nodes=len(particles),
        positions=relaxed.positions[particles],
        box=np.full(dimension, relaxed.side) if boundary == "periodic" else None,
    )
    radii = diameters[particles] / 2
    return Packing(topology, particles, radii, float(fraction), stored.pressure, stored.residual, size)


class _Rest(NamedTuple):
    """Largest net force over the mean contact force, that, and the pressure."""

    residual: float
    contact_force: float
    pressure: float


def _at_rest(positions: np.ndarray, side: _Scalar, contacts: np.ndarray, diameters: np.ndarray) -> _Rest:
    """How well particles balance where they are."""
    bonds = positions[contacts[:, 0]] - positions[contacts[:, 1]]
    bonds = bonds - side * np.round(bonds / side)
    distances, reach = np.linalg.norm(bonds, axis=1), diameters[contacts].mean(axis=1)
    pushes = np.maximum(1 - distances / reach, 0) / reach
    net, pairwise = np.zeros_like(positions), (pushes / distances)[:, None] * bonds
    np.add.at(net, contacts[:, 0], pairwise)
    np.subtract.at(net, contacts[:, 1], pairwise)
    mean = float(np.mean(pushes)) if len(pushes) else 0.0
    largest = float(np.max(np.linalg.norm(net, axis=1)))
    pressure = float(np.sum(pushes * distances)) / (positions.shape[1] * float(side) ** positions.shape[1])
    return _Rest(largest / mean if mean else np.inf, mean or np.inf, pressure)


def _within(edges: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Edges whose two ends are kept."""
    return edges[kept[edges].all(axis=1)]


def _core(edges: np.ndarray, size: int, least: int) -> np.ndarray:
    """Nodes that are left when all with fewer than `least` edges are removed, again and again."""
    kept = np.ones(size, dtype=bool)
    while True:
        degree = np.bincount(_within(edges, kept).ravel(), minlength=size)
        fewer = kept & (degree < least)
        if not fewer.any():
            return kept
        kept &= ~fewer


def _largest(edges: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The largest connected component of the nodes that are kept."""
    labels = component_labels(_within(edges, kept), len(kept))
    return kept & (labels == np.bincount(labels[kept]).argmax())


def _trimmed(edges: np.ndarray, kept: np.ndarray, positions: np.ndarray, number: int) -> np.ndarray:
    """Remove nodes far from the centre, one at a time, so that the rest stays connected and none dangles."""
    outward = np.argsort(-np.max(np.abs(positions), axis=1))
    while kept.sum() > number:
        for node in outward[kept[outward]]:
            rest = kept.copy()
            rest[node] = False
            inside = _within(edges, rest)
            degree = np.bincount(inside.ravel(), minlength=len(rest))
            if (degree[rest] >= 2).all() and (_largest(inside, rest) == rest).all():
                kept = rest
                break
        else:
            break
    left = int(kept.sum())
    require(left == number, "num_nodes", f"be one that trimming reaches, such as {left}", f"it is {number}")
    return kept
