"""Numbers that compare fields on edges: area under the curve, rank correlation, permutation nulls."""

from collections.abc import Callable

import numpy as np
import scipy.stats
from jaxtyping import ArrayLike, Bool, Float


def largest(values: Float[np.ndarray, " M"], fraction: float) -> Bool[np.ndarray, " M"]:
    """The largest entries, so many of all; NaN is never among them."""
    number = max(1, round(fraction * len(values)))
    order = np.argsort(-np.where(np.isnan(values), -np.inf, values), kind="stable")
    chosen = np.zeros(len(values), dtype=bool)
    chosen[order[:number]] = True
    return chosen


def area_under_curve(scores: Float[np.ndarray, " M"], positive: Bool[np.ndarray, " M"]) -> float:
    """Probability that a positive entry scores higher than another one (ties half): 0.5 by chance."""
    number = int(positive.sum())
    if number in (0, len(scores)):
        return float("nan")
    ranks = scipy.stats.rankdata(scores)
    return float((ranks[positive].sum() - number * (number + 1) / 2) / (number * (len(scores) - number)))


def precision(scores: Float[np.ndarray, " M"], positive: Bool[np.ndarray, " M"]) -> float:
    """Fraction of positives among as many of the highest scores as there are positives."""
    number = int(positive.sum())
    return float(positive[largest(scores, number / len(scores))].mean()) if number else float("nan")


def rank_correlation(first: Float[np.ndarray, " M"], second: Float[np.ndarray, " M"]) -> float:
    """Spearman's ρ."""
    return float(scipy.stats.spearmanr(first, second).statistic)


def permutation_null(
    number: int, size: int, draws: int, generator: np.random.Generator
) -> Float[np.ndarray, " draws"]:
    """Areas under the curve of `number` positives at random among `size` entries without ties."""
    chosen = np.argsort(generator.random((draws, size)), axis=1)[:, :number] + 1
    return (chosen.sum(axis=1) - number * (number + 1) / 2) / (number * (size - number))


def chance(number: int, size: int, probability: float = 0.001) -> float:
    """What area under the curve permutations exceed with this probability, from 20 000 of them."""
    draws = permutation_null(number, size, 20_000, np.random.default_rng(0))
    return float(np.quantile(draws, 1 - probability))


def only(values: Float[ArrayLike, " R"], chosen: Bool[np.ndarray, " R"]) -> Float[np.ndarray, " R"]:
    """Values of the chosen realizations, NaN for the others, which claims leave out."""
    return np.where(chosen, np.asarray(values, dtype=float), np.nan)


def each(measure: Callable[..., float], *fields: np.ndarray) -> Float[np.ndarray, " R"]:
    """A measure of every realization."""
    return np.array([measure(*rows) for rows in zip(*fields, strict=True)])


def stiffest(stiffness: Float[np.ndarray, "R M"], fraction: float = 0.05) -> Bool[np.ndarray, "R M"]:
    """The stiffest edges of every realization."""
    return np.stack([largest(row, fraction) for row in stiffness])
