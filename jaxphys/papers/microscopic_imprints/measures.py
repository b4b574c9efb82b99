"""Numbers that compare fields on edges: area under the curve, rank correlation, permutation nulls."""

from collections.abc import Callable

import numpy as np
import scipy.stats
from jaxtyping import ArrayLike, Bool, Float


def largest(values: Float[np.ndarray, " M"], fraction: float) -> Bool[np.ndarray, " M"]:
    """Which entries are the largest `fraction` of all, at least one; NaN is never among them.

    >>> largest(np.array([3.0, np.nan, 1.0, 2.0]), 0.5).tolist()
    [True, False, False, True]
    """
    number = max(1, round(fraction * len(values)))
    order = np.argsort(-np.where(np.isnan(values), -np.inf, values), kind="stable")
    chosen = np.zeros(len(values), dtype=bool)
    chosen[order[:number]] = True
    return chosen


def area_under_curve(scores: Float[np.ndarray, " M"], positive: Bool[np.ndarray, " M"]) -> float:
    """Probability that a positive entry scores higher than another one, ties counted half.

    1 where scores separate the two, 0.5 by chance; NaN where all entries are positive or none is.

    >>> area_under_curve(np.array([0.1, 0.9, 0.8]), np.array([False, True, False]))
    1.0
    """
    number = int(positive.sum())
    if number in (0, len(scores)):
        return float("nan")
    ranks = scipy.stats.rankdata(scores)
    return float((ranks[positive].sum() - number * (number + 1) / 2) / (number * (len(scores) - number)))


def precision(scores: Float[np.ndarray, " M"], positive: Bool[np.ndarray, " M"]) -> float:
    """Fraction of positives among as many of the highest scores as there are positives; NaN without any.

    1 where scores separate them, by chance the share of positives among all entries.
    """
    number = int(positive.sum())
    return float(positive[largest(scores, number / len(scores))].mean()) if number else float("nan")


def rank_correlation(first: Float[np.ndarray, " M"], second: Float[np.ndarray, " M"]) -> float:
    """Spearman's ρ of two fields on the same edges, between -1 and 1.

    `first`, `second`: `(M,)`, in any units: only the order of their entries counts. NaN if one is constant.
    """
    return float(scipy.stats.spearmanr(first, second).statistic)


def permutation_null(
    number: int, size: int, draws: int, generator: np.random.Generator
) -> Float[np.ndarray, " draws"]:
    """What `area_under_curve` is by chance: its values for so many random choices of positives.

    Each draw chooses `number` positives among `size` entries without ties; the areas do not depend on scores.
    """
    chosen = np.argsort(generator.random((draws, size)), axis=1)[:, :number] + 1
    return (chosen.sum(axis=1) - number * (number + 1) / 2) / (number * (size - number))


def chance(number: int, size: int, probability: float = 0.001) -> float:
    """The area under the curve that random choices exceed with a `probability`, from 20 000 of them.

    `number` positives among `size` entries, as in `permutation_null`; the same number for equal arguments.
    """
    draws = permutation_null(number, size, 20_000, np.random.default_rng(0))
    return float(np.quantile(draws, 1 - probability))


def only(values: Float[ArrayLike, " R"], chosen: Bool[np.ndarray, " R"]) -> Float[np.ndarray, " R"]:
    """Values of the chosen realizations, and NaN for all others, which `measured` leaves out.

    `values`: `(R,)`. `chosen`: `(R,)` booleans.
    """
    return np.where(chosen, np.asarray(values, dtype=float), np.nan)


def each(measure: Callable[..., float], *fields: np.ndarray) -> Float[np.ndarray, " R"]:
    """`measure` of every realization, which is handed its row of each of the `fields`, `(R, …)`."""
    return np.array([measure(*rows) for rows in zip(*fields, strict=True)])


def stiffest(stiffness: Float[np.ndarray, "R M"], fraction: float = 0.05) -> Bool[np.ndarray, "R M"]:
    """The stiffest `fraction` of the edges of every realization, as `largest` has it.

    `stiffness`: `(R, M)`. **Returns** `(R, M)` booleans.
    """
    return np.stack([largest(row, fraction) for row in stiffness])
