"""The Iris data are Fisher's."""

import numpy as np
import pytest
from helpers import assert_close

from jaxphys.data import iris, labelled_table


def test_iris_has_the_published_means():
    features, labels, species = iris()
    assert species == ["setosa", "versicolor", "virginica"]
    assert features.shape == (150, 4)
    assert np.bincount(labels).tolist() == [50, 50, 50]
    # Fisher (1936), table II: means of sepal length, sepal width, petal length, petal width.
    means = [[5.006, 3.428, 1.462, 0.246], [5.936, 2.770, 4.260, 1.326], [6.588, 2.974, 5.552, 2.026]]
    for label, expected in enumerate(means):
        assert_close(features[labels == label].mean(axis=0), np.array(expected), relative=1e-6)


def test_tables_say_what_is_wrong():
    features, labels, classes = labelled_table("a,b,class\n1,2,no\n3,4,yes\n")
    assert features.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert (labels.tolist(), classes) == ([0, 1], ["no", "yes"])
    with pytest.raises(ValueError, match="line 2 has 2 columns"):
        labelled_table("a,b,class\n1,2\n")
    with pytest.raises(ValueError, match="line 3 has a feature that is no number"):
        labelled_table("a,b,class\n1,2,x\n1,b,y\n")


@pytest.mark.parametrize(
    ("text", "saying"),
    [
        ("x,kind\n" + "1" * 200_000 + ",a\n", "no CSV"),
        ("x,kind\nnan,a\n1,b\n", "line 2 has a feature that is not finite"),
    ],
)
def test_tables_that_cannot_be_used(text, saying):
    with pytest.raises(ValueError, match=saying):
        labelled_table(text)
