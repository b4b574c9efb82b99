"""Data sets that ship with the package; `README.md` beside them names their sources."""

import csv
from importlib.resources import files

import numpy as np


def iris() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Fisher's Iris data: features `(150, 4)` in cm, labels `(150,)` from 0 to 2, names of the species.

    >>> from jaxphys.data import iris
    >>> features, labels, species = iris()
    >>> features.shape, species
    ((150, 4), ['setosa', 'versicolor', 'virginica'])
    """
    with files("jaxphys.data").joinpath("iris.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    species = sorted({row[-1] for row in rows})
    labels = np.array([species.index(row[-1]) for row in rows])
    return np.array([row[:-1] for row in rows], dtype=float), labels, species
