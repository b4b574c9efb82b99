"""Figure 7: how many soft modes the susceptibility takes."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from jaxphys.diagnostics import partial_susceptibility, spectrum
from jaxphys.equilibrium import Boundary
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.papers.claims import measured
from jaxphys.papers.drawing import ACCENTS, panels
from jaxphys.papers.frame import Result, Settings, Variables
from jaxphys.papers.microscopic_imprints.systems import (
    RECIPES,
    TITLES,
    learned,
)
from jaxphys.reports.style import GREY, legend_above, styled
from jaxphys.training._train import member, stack

_COUNTS = np.array([*range(1, 21), 25, 30, 40, 60, 100, 200])


@eqx.filter_jit
def _shares(
    network: AbstractNetwork, ground: Boundary
) -> tuple[Float[Array, "R counts"], Float[Array, "R counts"]]:
    """Squared norms from the softest modes over the whole, summed over edges: `(R, counts)`, twice.

    First by modes of the grounded Hessian (eq. 20), whose shares only grow and know no unit of k; then by
    those of the bordered one, `[[2H, Cᵀ], [C, 0]]`, as printed (eq. 24).
    """

    def one(pair: tuple[AbstractNetwork, Boundary]) -> tuple[Array, Array]:
        network, ground = pair
        size = network.num_coordinates + ground.rows.shape[0]
        counts = np.array([count for count in _COUNTS if count < size - 2])
        values, modes = spectrum(network, ground)
        parts = jnp.cumsum(jnp.sum(network.strains(modes)[..., 0] ** 2, axis=1) / values**2)
        printed = partial_susceptibility(network.with_k(2 * network.k), ground, np.append(counts, size)).sum(
            axis=1
        )
        return parts[counts - 1] / parts[-1], printed[:-1] / printed[-1]

    return jax.lax.map(one, (network, ground))


def partial_sums(settings: Settings) -> Result:
    """Fig. 7: partial over full susceptibility against the number of modes, four tasks."""
    name = "microscopic-imprints.fig7"
    variables: Variables = {}
    claims = []
    for task in RECIPES:
        found = learned(task, settings)
        run = found.run
        ground = stack([found.placement.ground(member(run.network, 0))] * len(run.cost))
        after, printed = map(np.asarray, _shares(run.network, ground))
        before, _ = map(np.asarray, _shares(run.network.with_k(run.initial_k), ground))
        axes = (f"{task}_realization", "count")
        for key, values in (("trained", after), ("untrained", before), ("bordered", printed)):
            variables[f"{task}_{key}"] = (axes, values)
        variables["count"] = ("count", _COUNTS[: after.shape[1]])
        ten = int(np.flatnonzero(_COUNTS == 10)[0])
        claims.append(
            measured(
                f"{name}.{task}",
                "Guzman et al. (2024), fig. 7",
                f"Ten soft modes carry nearly all of the susceptibility, {TITLES[task]} [modes of the "
                "grounded Hessian, median share at least 0.9, untrained at most 0.8]",
                after[:, ten],
                _saturates(float(np.median(before[:, ten]))),
                paper="saturates at n = 2 to 10",
                condition=f"Untrained: {np.median(before[:, ten]):.2f}. With the modes of the bordered "
                f"Hessian, which depend on the unit of k: {np.median(printed[:, ten]):.2f}.",
            )
        )
    return Result(xr.Dataset(variables), claims)


def _saturates(untrained: float) -> Callable[[float], bool]:
    return lambda value: value >= 0.9 and untrained <= 0.8


@styled
def draw_partial_sums(dataset: xr.Dataset) -> Figure:
    """Fig. 7 from its dataset."""
    figure, grid = panels(1, 1, width=6.4, height=4.2)
    axes = grid[0, 0]
    counts = dataset["count"].values
    for number, (task, color) in enumerate(zip(RECIPES, ACCENTS, strict=False)):
        shift = 1 + 0.02 * (number - 1.5)
        values = dataset[f"{task}_trained"].values
        axes.errorbar(
            counts * shift,
            values.mean(axis=0),
            yerr=values.std(axis=0),
            color=color,
            marker="o",
            markersize=3.5,
            linewidth=1.4,
            elinewidth=0.8,
            label=TITLES[task],
        )
        axes.plot(counts, dataset[f"{task}_untrained"].values.mean(axis=0), ":", color=color, linewidth=1.2)
    axes.plot([], [], ":", color=GREY, label="the same, untrained")
    axes.set(xscale="log", xlabel="number of softest modes, n", ylabel="Σ|sᵢⁿ|² / Σ|sᵢ|²", ylim=(0, 1.03))
    legend_above(axes, ncols=3)
    return figure
