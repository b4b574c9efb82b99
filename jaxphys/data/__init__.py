"""Data sets that ship with the package; `README.md` beside them names their sources."""

import csv
from importlib.resources import as_file, files

import numpy as np

from jaxphys.networks.elastic import Structure, read_structure


def iris() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Fisher's Iris data: features `(150, 4)` in cm, labels `(150,)` from 0 to 2, names of the species.

    >>> from jaxphys.data import iris
    >>> features, labels, species = iris()
    >>> features.shape, species
    ((150, 4), ['setosa', 'versicolor', 'virginica'])
    """
    return labelled_table(files("jaxphys.data").joinpath("iris.csv").read_text(encoding="utf-8"))


def ubiquitin() -> Structure:
    """The 76 Cα atoms of human ubiquitin, from the crystal structure 1UBI at 1.8 Å resolution.

    >>> from jaxphys.data import ubiquitin
    >>> structure = ubiquitin()
    >>> structure.positions.shape, structure.residues[0], structure.residues[-1]
    ((76, 3), 'MET 1 A', 'GLY 76 A')
    """
    with as_file(files("jaxphys.data").joinpath("ubiquitin.pdb")) as path:
        return read_structure(path)


def labelled_table(text: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Read labelled samples from the text of a CSV file.

    The first line is a header; every other line holds numbers and, last, the name of a class.

    **Returns** features `(R, s)`, class numbers `(R,)` in the alphabetical order of names, and the names.

    Raises `ValueError` that names the line which does not fit.

    >>> from jaxphys.data import labelled_table
    >>> labelled_table("x,y,kind\\n1,2,b\\n3,4,a")
    (array([[1., 2.],
           [3., 4.]]), array([1, 0]), ['a', 'b'])
    """
    try:
        header, *lines = (line for line in csv.reader(text.splitlines()) if line)
    except csv.Error as error:
        raise ValueError(f"it is no CSV: {error}") from None
    features = np.empty((len(lines), len(header) - 1))
    for i, line in enumerate(lines):
        if len(line) != len(header):
            raise ValueError(f"line {i + 2} has {len(line)} columns, the header has {len(header)}")
        try:
            features[i] = [float(value) for value in line[:-1]]
        except ValueError:
            raise ValueError(f"line {i + 2} has a feature that is no number") from None
        if not np.isfinite(features[i]).all():
            raise ValueError(f"line {i + 2} has a feature that is not finite")
    classes = sorted({line[-1] for line in lines})
    return features, np.array([classes.index(line[-1]) for line in lines], dtype=int), classes
