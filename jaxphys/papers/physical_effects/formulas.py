"""The formulas of Stern et al. (2023) against finite differences, automatic derivatives and random draws."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, ArrayLike, Float, Key
from matplotlib.figure import Figure

from jaxphys.diagnostics import (
    cost_hessian,
    cost_hessian_autodiff,
    mode_change,
    predicted_eigenvalue_change,
    spectrum,
)
from jaxphys.learning import Task, task_cost
from jaxphys.learning.rules import ExactGradient
from jaxphys.networks.physics import AbstractNetwork, SpringNetwork
from jaxphys.papers.claims import Claim, measured
from jaxphys.papers.drawing import ACCENTS, panels
from jaxphys.papers.frame import Result, Settings
from jaxphys.papers.physical_effects.systems import Pair, flow_pair, node_pair, spring_pair
from jaxphys.reports.style import GREY, styled

_DRAWS = 10
_EXACT = 1e-6
# Random forces for every moment, and how far means over so many may lie from what they estimate.
_MOMENT_DRAWS, _SAMPLING = 50_000, 3e-2


class FormulaCheck(NamedTuple):
    """One formula: relative errors of the print and of what we take instead, `(draws,)` each.

    `corrected` is None where the print stands. `tolerance`: what counts as equal.
    """

    id: str
    source: str
    statement: str
    printed: np.ndarray
    corrected: np.ndarray | None
    correction: str
    tolerance: float = _EXACT


def formulas(settings: Settings) -> Result:
    """Every formula of the text that can be checked by itself, on ten random draws each."""
    keys = jax.random.split(settings.key("formulas"), _DRAWS)
    checks: list[FormulaCheck] = []
    for check in (_clamped_state, _local_rule, _learning_steps, _moments, _spectral_forms, _linearity):
        checks += check(keys)
    claims = [_claim(check) for check in checks]
    nothing = np.full(_DRAWS, np.nan)
    dataset = xr.Dataset(
        {
            "formula": ("formula", [check.id for check in checks]),
            "source": ("formula", [check.source for check in checks]),
            "printed_error": (("formula", "draw"), np.stack([check.printed for check in checks])),
            "corrected_error": (
                ("formula", "draw"),
                np.stack([nothing if check.corrected is None else check.corrected for check in checks]),
            ),
            "tolerance": ("formula", [check.tolerance for check in checks]),
        }
    )
    return Result(dataset, claims)


def _claim(check: FormulaCheck) -> Claim:
    condition = check.correction
    if check.corrected is not None:
        condition += f" Its relative error: {np.median(check.corrected):.1e}."
    return measured(
        f"physical-effects.formulas.{check.id}",
        check.source,
        f"{check.statement} [median relative error of the print at most {check.tolerance:g}]",
        check.printed,
        lambda value: value <= check.tolerance,
        condition=condition,
    )


def _relative(found: ArrayLike, exact: ArrayLike) -> float:
    found, exact = np.asarray(found, dtype=float), np.asarray(exact, dtype=float)
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def _each(keys: Key[Array, " d"], measure: Callable[[Key[Array, ""]], tuple[float, ...]]) -> list[np.ndarray]:
    """Every error that `measure` gives for a key, over all keys."""
    return [np.array(column) for column in zip(*(measure(key) for key in keys), strict=True)]


def _one_task(key: Key[Array, ""]) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, AbstractNetwork, Task]:
    """H, F, A, B of a node network and its task, `f = A·x + B`."""
    network, task = node_pair(key)
    hessian = np.asarray(network.hessian())
    return (
        hessian,
        np.asarray(task.force[0]),
        np.asarray(task.readout[0]),
        -float(task.targets[0, 0]),
        network,
        task,
    )


def _clamped_state(keys: Key[Array, " d"]) -> list[FormulaCheck]:
    nudge = 1.0

    def measure(key: Key[Array, ""]) -> tuple[float, float]:
        hessian, force, readout, offset, *_ = _one_task(key)
        free = np.linalg.solve(hessian, force)
        # The minimum of E - F·x + η C, eq. 7 as it stands.
        clamped = np.linalg.solve(
            hessian + nudge * np.outer(readout, readout), force - nudge * offset * readout
        )
        output = -(readout @ free + offset) * readout
        printed = nudge * np.linalg.solve(hessian, output)
        corrected = printed / (1 + nudge * readout @ np.linalg.solve(hessian, readout))
        return _relative(printed, clamped - free), _relative(corrected, clamped - free)

    printed, corrected = _each(keys, measure)
    return [
        FormulaCheck(
            "eq6",
            "Stern et al. (2023), eq. 6",
            "The clamped state of eq. 7 differs from the free one by η H⁻¹F^O, here at η = 1",
            printed,
            corrected,
            "Only to first order in η; exact is η H⁻¹F^O / (1 + η AᵀH⁻¹A).",
        )
    ]


def _local_rule(keys: Key[Array, " d"]) -> list[FormulaCheck]:
    frobenius, entries, rank = _node_rule(keys)
    return [frobenius, entries, _difference_rule(keys), _spring_energy(keys), _summed_cost(keys), rank]


def _node_rule(keys: Key[Array, " d"]) -> tuple[FormulaCheck, FormulaCheck, FormulaCheck]:
    """The rule of node networks as a gradient in the Frobenius metric, by entries, and its rank."""

    def node(key: Key[Array, ""]) -> tuple[float, ...]:
        hessian, force, readout, offset, network, task = _one_task(key)
        free = np.linalg.solve(hessian, force)
        response = np.linalg.solve(hessian, -(readout @ free + offset) * readout)
        printed = 0.5 * (np.outer(free, response) + np.outer(response, free))

        def cost(matrix: Float[Array, "N N"]) -> Float[Array, ""]:
            return 0.5 * (jnp.asarray(readout) @ jnp.linalg.solve(matrix, jnp.asarray(force)) + offset) ** 2

        full = np.asarray(jax.grad(cost)(jnp.asarray(hessian)))
        frobenius = 0.5 * (full + full.T)
        independent = np.asarray(jax.grad(lambda k: task_cost(network.with_k(k), task))(network.k))
        rows, columns = np.triu_indices(len(hessian))
        upper = printed[rows, columns]
        doubled = np.where(rows == columns, 1, 2) * upper
        values = np.linalg.eigvalsh(printed)
        rank = np.sum(np.abs(values) > 1e-10 * np.abs(values).max())
        return (
            _relative(printed, frobenius),
            _relative(upper, independent),
            _relative(doubled, independent),
            abs(float(rank) - 1) / rank,
            abs(float(rank) - 2) / rank,
        )

    frobenius, single, doubled, rank_one, rank_two = _each(keys, node)
    return (
        FormulaCheck(
            "eq13",
            "Stern et al. (2023), eq. 13",
            "Eq. 13 is minus α times the gradient in the Frobenius metric",
            frobenius,
            None,
            "",
        ),
        FormulaCheck(
            "eq13-entries",
            "Stern et al. (2023), eqs 11, 13",
            "Eq. 13 is minus α times the derivative by each independent weight",
            single,
            doubled,
            "Derivatives by independent off-diagonal entries are twice that: descent with the metric ½ "
            "off the diagonal. The diagonal learns too, so that N_w = N(N+1)/2, not N(N-1)/2.",
        ),
        FormulaCheck(
            "eq18",
            "Stern et al. (2023), eq. 18",
            "One task changes the Hessian by a matrix of rank 1 (rank 2: error 0.5)",
            rank_one,
            rank_two,
            "The rank is 2: one direction softens, one stiffens.",
        ),
    )


def _difference_rule(keys: Key[Array, " d"]) -> FormulaCheck:
    """The rule of flow and spring networks as a gradient."""

    def difference(key: Key[Array, ""]) -> tuple[float, ...]:
        errors = []
        for pair in (flow_pair, spring_pair):
            network, task = pair(key)
            gradient = jax.grad(lambda k, network=network, task=task: task_cost(network.with_k(k), task))(
                network.k
            )
            errors.append(_relative(ExactGradient()(network, task).gradient, gradient))
        return (max(errors),)

    (local,) = _each(keys[:3], difference)
    return FormulaCheck(
        "eq16",
        "Stern et al. (2023), eqs 10, 16",
        "Eq. 16 is minus α times the derivative by each edge",
        np.resize(local, _DRAWS),
        None,
        "",
    )


def _spring_energy(keys: Key[Array, " d"]) -> FormulaCheck:
    """The energy of springs as printed, and read literally."""

    def literal(key: Key[Array, ""]) -> tuple[float, ...]:
        network, _ = spring_pair(key, law="vector", degree=4.0)
        edges = np.asarray(network.topology.edges)
        incidence = np.zeros((len(edges), network.num_nodes))
        incidence[np.arange(len(edges)), edges[:, 0]] = 1
        incidence[np.arange(len(edges)), edges[:, 1]] = -1
        laplacian = incidence.T @ np.diag(np.asarray(network.k)) @ incidence
        central = SpringNetwork(network.topology, network.k).hessian()
        read = np.kron(laplacian, np.eye(2))
        return _relative(read, central), _relative(read, network.hessian())

    central, vector = _each(keys, literal)
    return FormulaCheck(
        "eq14",
        "Stern et al. (2023), eqs 14, 15",
        "Eq. 14 with inner products of d-vectors is the energy of central-force springs",
        central,
        vector,
        "Read literally its Hessian is the graph Laplacian times the identity in d dimensions.",
    )


def _summed_cost(keys: Key[Array, " d"]) -> FormulaCheck:
    """Whether the rules descend the mean of the tasks' costs or their sum."""
    several = []
    for key in keys:
        network, task = node_pair(key, 5)
        summed = ExactGradient()(network, task).gradient
        mean = jax.grad(lambda k, network=network, task=task: task_cost(network.with_k(k), task) / 5)(
            network.k
        )
        several.append(_relative(summed, mean))
    return FormulaCheck(
        "eq19",
        "Stern et al. (2023), eqs 4, 19, B1",
        "The rules descend the cost of eq. 4, with its factor 1/n_T, here at n_T = 5",
        np.array(several),
        np.array([abs(value - 4) / 4 for value in several]),
        "The rules descend the sum over tasks: n_T times the printed cost.",
    )


def _learning_steps(keys: Key[Array, " d"]) -> list[FormulaCheck]:
    step = 1e-6

    def measure(pair: Callable[..., Pair]) -> Callable[[Key[Array, ""]], tuple[float, ...]]:
        def one(key: Key[Array, ""]) -> tuple[float, ...]:
            network, task = pair(key)
            predicted = predicted_eigenvalue_change(network, task)
            direction = -ExactGradient()(network, task).gradient
            if network.descent_metric is not None:
                direction = direction * network.descent_metric
            size = step / jnp.linalg.norm(direction)
            basis = task.boundary.constraints.basis

            def modes(k: Float[Array, " M"]) -> tuple[np.ndarray, np.ndarray]:
                hessian = basis.T @ network.with_k(k).hessian() @ basis
                values, vectors = np.linalg.eigh(np.asarray(hessian))
                return values, (np.asarray(basis) @ vectors).T

            above, below = modes(network.k + size * direction), modes(network.k - size * direction)
            moved = (above[0] - below[0]) / (2 * float(size))
            now = modes(network.k)[1]
            signs = [np.sign(np.sum(one * now, axis=1))[:, None] for one in (above[1], below[1])]
            turned = (signs[0] * above[1] - signs[1] * below[1]) / (2 * float(size))
            change = mode_change(network, task.boundary, direction)
            signs_now = np.sign(np.sum(np.asarray(spectrum(network, task.boundary).modes) * now, axis=1))[
                :, None
            ]
            return _relative(predicted, moved), _relative(signs_now * np.asarray(change.modes), turned)

        return one

    checks = []
    for name, pair, number in (("node", node_pair, 10), ("flow", flow_pair, 3), ("spring", spring_pair, 3)):
        values, modes = (np.resize(column, _DRAWS) for column in _each(keys[:number], measure(pair)))
        equations = ("eq. 21", "eq. 22") if name == "node" else ("eq. 24", "eq. 25")
        checks += [
            FormulaCheck(
                f"{name}-eigenvalues",
                f"Stern et al. (2023), {equations[0]}",
                f"First-order change of eigenvalues ({name}) against finite differences",
                values,
                None,
                "",
                2e-5,
            ),
            FormulaCheck(
                f"{name}-modes",
                f"Stern et al. (2023), {equations[1]}",
                f"First-order change of modes ({name}) against finite differences",
                modes,
                None,
                "",
                2e-3,
            ),
        ]

    def cost(key: Key[Array, ""]) -> tuple[float, ...]:
        network, task = node_pair(key, 3, num_nodes=8)
        return (_relative(cost_hessian(network, task), cost_hessian_autodiff(network, task)),)

    (exact,) = _each(keys, cost)
    checks.append(
        FormulaCheck(
            "B6",
            "Stern et al. (2023), eqs B2 to B6",
            "The cost Hessian in closed form, against automatic differentiation",
            exact,
            None,
            "",
        )
    )
    return checks


def _moments(keys: Key[Array, " d"]) -> list[FormulaCheck]:
    """Expectations over random forces and tasks, by 50 000 draws and more each."""
    return [*_force_moments(keys), *_task_moments(keys)]


def _force_moments(keys: Key[Array, " d"]) -> list[FormulaCheck]:
    """Conductance and dimension under random forces, of unit norm and Gaussian ones."""

    def forces(key: Key[Array, ""]) -> tuple[float, ...]:
        generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
        values = np.linalg.eigvalsh(np.asarray(node_pair(key, num_nodes=6)[0].hessian()))
        size = len(values)
        amplitudes = generator.standard_normal((_MOMENT_DRAWS, size))
        unit = amplitudes / np.linalg.norm(amplitudes, axis=1, keepdims=True)
        second = np.mean((unit / values) ** 2, axis=0)
        fourth = np.mean((unit / values) ** 4, axis=0)
        dimension = np.sum(second) ** 2 / np.sum(fourth)
        gaussian = np.mean(np.sum((amplitudes / values) ** 2, axis=1)) ** 2
        gaussian /= np.mean(np.sum((amplitudes / values) ** 4, axis=1))
        spectral = np.sum(values**-2.0) ** 2 / (3 * np.sum(values**-4.0))
        norms = np.linalg.norm(unit / values, axis=1)
        root = np.sqrt(np.sum(values**-2.0))
        return (
            _relative(values**2 / size, second),
            _relative(values**-2.0 / size, second),
            _relative(3 * values**-4.0 / size**2, fourth),
            _relative(3 * values**-4.0 / (size * (size + 2)), fourth),
            _relative(spectral, dimension),
            _relative(spectral * (size + 2) / size, dimension),
            _relative(spectral, gaussian),
            _relative(root, norms.mean()),
            _relative(root / np.sqrt(size), np.sqrt(np.mean(norms**2))),
        )

    second, second_right, fourth, fourth_right, unit, unit_right, gaussian, root, root_right = _each(
        keys, forces
    )
    return [
        FormulaCheck(
            "C6-second",
            "Stern et al. (2023), eq. C6",
            "The second moment of a mode's amplitude under unit forces is λ² / N",
            second,
            second_right,
            "The exponent is -2: λ⁻² / N.",
            _SAMPLING,
        ),
        FormulaCheck(
            "C6-fourth",
            "Stern et al. (2023), eq. C6",
            "The fourth moment is 3 λ⁻⁴ / N² (its exponent put right), here at N = 6",
            fourth,
            fourth_right,
            "On the sphere it is 3 λ⁻⁴ / (N (N + 2)); the print is the limit of large N.",
            _SAMPLING,
        ),
        FormulaCheck(
            "eq31-unit",
            "Stern et al. (2023), eqs 31, C7",
            "Eq. 31 is the effective dimension under forces of unit norm, here at N = 6",
            unit,
            unit_right,
            "Unit forces multiply it by (N + 2) / N, so that a single soft mode gives (N + 2) / (3 N), "
            "not 1/3.",
            _SAMPLING,
        ),
        FormulaCheck(
            "eq31-gaussian",
            "Stern et al. (2023), eqs 31, C7",
            "Eq. 31 is the effective dimension under Gaussian forces",
            gaussian,
            None,
            "",
            _SAMPLING,
        ),
        FormulaCheck(
            "eq28",
            "Stern et al. (2023), eqs 26, 28",
            "The effective conductance is sqrt(Σ λ⁻²), here at N = 6",
            root,
            root_right,
            "sqrt(Σ λ⁻² / N), which is the root mean square; eq. 26's mean of norms is lower still.",
            _SAMPLING,
        ),
    ]


def _task_moments(keys: Key[Array, " d"]) -> list[FormulaCheck]:
    """Means over random tasks that eq. 36 rests on."""

    def tasks(key: Key[Array, ""]) -> tuple[float, ...]:
        generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
        hessian = np.asarray(node_pair(key, num_nodes=4)[0].hessian())
        values, vectors = np.linalg.eigh(hessian)
        force, readout = generator.standard_normal((2, 10 * _MOMENT_DRAWS, 4))
        offset = generator.standard_normal(10 * _MOMENT_DRAWS)
        error = np.einsum("ri,ri->r", readout, force @ np.linalg.inv(hessian)) + offset
        mean = np.mean((force @ vectors) * (-error[:, None] * (readout @ vectors)), axis=0)
        product = np.var(force[:, 0] * force[:, 1] * force[:, 0] * force[:, 1])
        return _relative(-1 / values, mean), _relative(2.0, product), _relative(8.0, product)

    shift, normal, normal_right = _each(keys, tasks)
    return [
        FormulaCheck(
            "eq36",
            "Stern et al. (2023), eq. 36",
            "Averaged over random tasks, v_a·⟨F F^Oᵀ⟩·v_a = -1/λ_a",
            shift,
            None,
            "",
            2 * _SAMPLING,
        ),
        FormulaCheck(
            "eq36-normal",
            "Stern et al. (2023), section IV",
            "Off-diagonal entries of FFᵀ are normal: the variance of their square is 2",
            normal,
            normal_right,
            "They are products of two normals, whose square has variance 8.",
            2 * _SAMPLING,
        ),
    ]


def _spectral_forms(keys: Key[Array, " d"]) -> list[FormulaCheck]:
    def measure(key: Key[Array, ""]) -> tuple[float, ...]:
        values = np.linalg.eigvalsh(np.asarray(node_pair(key)[0].hessian()))

        def dimension(x: np.ndarray) -> float:
            return float(np.sum(x**-2.0) ** 2 / (3 * np.sum(x**-4.0)))

        step = 1e-5
        slopes = np.array(
            [
                (dimension(values + step * unit) - dimension(values - step * unit)) / (2 * step)
                for unit in np.eye(len(values))
            ]
        )
        second, fourth = np.sum(values**-2.0), np.sum(values**-4.0)
        front = 4 / (3 * values**5)
        printed = front * (dimension(values) - values**2 * second) / fourth
        corrected = front * (3 * dimension(values) - values**2 * second) / fourth
        return _relative(printed, slopes), _relative(corrected, slopes)

    printed, corrected = _each(keys, measure)
    return [
        FormulaCheck(
            "eq32",
            "Stern et al. (2023), eq. 32",
            "The derivative of the effective dimension by an eigenvalue",
            printed,
            corrected,
            "The bracket is 3 D_eff - λ_a² Σλ⁻²; the print has the wrong sign for the lowest modes.",
        )
    ]


def _linearity(keys: Key[Array, " d"]) -> list[FormulaCheck]:
    def measure(key: Key[Array, ""]) -> tuple[float, ...]:
        first = _one_task(key)
        hessian, force, readout, *_ = first
        other = _one_task(jax.random.fold_in(key, 9))[0]
        ends = [readout @ np.linalg.solve(h, force) for h in (hessian, other)]
        between = readout @ np.linalg.solve(0.5 * (hessian + other), force)
        inverse = 0.5 * (np.linalg.inv(hessian) + np.linalg.inv(other))
        return _relative(np.mean(ends), between), _relative(np.mean(ends), readout @ inverse @ force)

    linear, inverse = _each(keys, measure)
    return [
        FormulaCheck(
            "D2",
            "Stern et al. (2023), eqs D1, D2",
            "A task is a linear equation for the elements of the Hessian H",
            linear,
            inverse,
            "It is linear in H⁻¹. So learnability is feasibility of a semidefinite program in G = H⁻¹.",
        )
    ]


@styled
def draw_formulas(dataset: xr.Dataset) -> Figure:
    """Relative errors of printed and corrected formulas."""
    figure, ((axes,),) = panels(1, 1, width=8.0, height=6.5)
    ids = dataset["formula"].values
    sources = [str(source).removeprefix("Stern et al. (2023), ") for source in dataset["source"].values]
    rows = np.arange(len(ids))[::-1]
    least = 1e-17
    printed = np.maximum(np.median(dataset["printed_error"].values, axis=1), least)
    corrected = np.median(dataset["corrected_error"].values, axis=1)
    wrong = np.isfinite(corrected)
    axes.hlines(rows[wrong], np.maximum(corrected[wrong], least), printed[wrong], color=GREY, linewidth=0.8)
    axes.plot(printed[~wrong], rows[~wrong], "o", color=ACCENTS[0], label="printed formula, confirmed")
    axes.plot(printed[wrong], rows[wrong], "s", color=ACCENTS[1], label="printed formula, corrected here")
    axes.plot(
        np.maximum(corrected[wrong], least), rows[wrong], "D", color=ACCENTS[2], label="corrected formula"
    )
    axes.plot(dataset["tolerance"].values, rows, "|", color=GREY, markersize=9, label="tolerance")
    axes.set_xscale("log")
    shared = {source for source in sources if sources.count(source) > 1}
    labels = [
        f"{source} ({name})" if source in shared else source
        for name, source in zip(ids, sources, strict=True)
    ]
    axes.set_yticks(rows, labels, fontsize=8)
    axes.set(xlabel="relative error, median over ten draws")
    axes.legend(loc="upper center", bbox_to_anchor=(0.35, 1.09), ncols=2, fontsize=8)
    return figure
