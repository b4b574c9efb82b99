"""Measured responses in files: exact values from every shape, and one clear sentence about what is broken."""

import os

import numpy as np
import pytest
from sample_files import EDGES, GRAPHML, K, archive, assert_one_line, edge_list, mutations, quietly, written

import jaxphys as jp
from jaxphys.io import NetworkFile, ResponseFile, read_measured, read_responses, save_network

pytestmark = pytest.mark.float64

MATRIX = [[1.5, 0.25], [0.25, 2.0], [-1e-3, 0.75]]
NAMES = ("in", "röhre", "out")


def readings(**columns):
    """A line for every reading: `out` first, so that rows and columns have orders of their own."""
    lines = ["input,output,response" + "".join(f",{name}" for name in columns)]
    for j in (1, 0):
        for i in (2, 0, 1):
            further = "".join(f",{value!r}" for value in columns.values())
            lines.append(f"{NAMES[j]},{NAMES[i]},{MATRIX[i][j]!r}{further}")
    return "\n".join(lines) + "\n"


def check(found, responses, driven, labels):
    assert isinstance(found, ResponseFile)
    assert found.responses.dtype == float
    assert found.responses.tolist() == responses
    assert found.driven.tolist() == driven
    assert found.labels == labels


@pytest.mark.parametrize("read", [read_responses, read_measured])
def test_a_line_for_every_reading(read, tmp_path):
    found = read(written(tmp_path, "a.csv", readings()))
    expected = [[MATRIX[i][j] for j in (1, 0)] for i in (2, 0, 1)]
    check(found, expected, [2, 1], ("out", "in", "röhre"))
    assert found.errors is None
    found = read(written(tmp_path, "a.csv", readings(error=0.125, when="today")))
    check(found, expected, [2, 1], ("out", "in", "röhre"))
    assert found.errors.tolist() == [[0.125] * 2] * 3


def test_repeated_readings_are_averaged(tmp_path):
    """One node driven and read: 1, 2 and 6 have mean 3 and variance 7, so the standard error is √(7/3)."""
    text = "input,output,response\na,a,1\na,b,4\na,a,2\na,a,6\na,b,4\n"
    found = read_responses(written(tmp_path, "a.csv", text))
    check(found, [[3.0], [4.0]], [0], ("a", "b"))
    np.testing.assert_allclose(found.errors, [[np.sqrt(7 / 3)], [0]], rtol=1e-15)
    once = read_responses(written(tmp_path, "b.csv", text.removesuffix("a,b,4\n")))
    check(once, [[3.0], [4.0]], [0], ("a", "b"))
    assert once.errors is None


def test_given_errors_of_repeated_readings_are_those_of_their_mean(tmp_path):
    text = "input,output,response,error\na,a,1,3\na,a,2,4\n"
    found = read_responses(written(tmp_path, "a.csv", text))
    check(found, [[1.5]], [0], ("a",))
    assert found.errors.tolist() == [[2.5]]  # √(3² + 4²) / 2


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("corner", ["node", "output"])
def test_a_line_for_every_node(separator, corner, tmp_path):
    rows = [[name, *map(repr, values)] for name, values in zip(NAMES, MATRIX, strict=True)]
    text = "\n".join(separator.join(row) for row in [[corner, "röhre", "in"], *rows])
    check(read_responses(written(tmp_path, "a.csv", text)), MATRIX, [1, 0], NAMES)
    text = "\n".join(separator.join([*row, end]) for row, end in zip(
        [[corner, "röhre", "in"], *rows], ["error", "0.5", "0", "2"], strict=True))  # fmt: skip
    found = read_measured(written(tmp_path, "a.csv", text))
    check(found, MATRIX, [1, 0], NAMES)
    assert found.errors.tolist() == [[0.5, 0.5], [0.0, 0.0], [2.0, 2.0]]


def test_numbers_alone(tmp_path):
    square = [[1.5, -0.25], [0.25, 2e-5]]
    path = written(tmp_path, "a.csv", "1.5, -0.25\n.25, 2e-5\n")
    check(read_measured(path), square, [0, 1], ("0", "1"))
    np.save(tmp_path / "a.npy", np.array(square))
    check(read_measured(tmp_path / "a.npy"), square, [0, 1], ("0", "1"))
    np.savetxt(tmp_path / "b.csv", square, delimiter=",")
    check(read_responses(tmp_path / "b.csv"), square, [0, 1], ("0", "1"))


@pytest.mark.parametrize("read", [read_responses, read_measured])
def test_arrays(read, tmp_path):
    arrays = {"responses": np.array(MATRIX), "driven": np.array([2, 0]), "remark": np.array("noon")}
    path = written(tmp_path, "a.npz", arrays)
    check(read(path), MATRIX, [2, 0], ("0", "1", "2"))
    assert read(path).errors is None
    errors = np.full((3, 2), 0.5)
    found = read(written(tmp_path, "b.npz", arrays | {"errors": errors, "labels": np.array(NAMES)}))
    check(found, MATRIX, [2, 0], NAMES)
    assert found.errors.tolist() == errors.tolist()
    found = read(written(tmp_path, "c.npz", {"responses": np.eye(2)}))
    check(found, [[1, 0], [0, 1]], [0, 1], ("0", "1"))


def test_what_a_file_holds_is_told_from_its_content(tmp_path):
    network = jp.FlowNetwork(jp.from_edges(np.array(EDGES)), K)
    save_network(network, tmp_path / "a.json")
    files = [
        tmp_path / "a.json",
        written(tmp_path, "b.csv", edge_list()),
        written(tmp_path, "c.graphml", GRAPHML),
    ]
    files += [
        written(tmp_path, "d.npz", {"edges": np.array(EDGES), "G": np.array(K)}),
        written(tmp_path, "e.npz", {"matrix": np.eye(2)}),
    ]
    for path in files:
        assert isinstance(read_measured(path), NetworkFile)
    assert isinstance(read_measured(files[2], kind="flow").network, jp.FlowNetwork)
    with pytest.raises(jp.InputError, match="not those of a flow network"):
        read_measured(written(tmp_path, "f.csv", readings()), kind="flow")
    with pytest.raises(jp.InputError, match="no realizations"):
        read_measured(written(tmp_path, "f.csv", readings()), realization=0)
    with pytest.raises(jp.InputError, match="must end in"):
        read_responses(files[0])
    with pytest.raises(jp.InputError, match="holds the edges of a network"):
        read_responses(files[1])


OBJECTS = np.array([[{"a": 1}]], dtype=object)
TWO = np.ones((3, 2))


@pytest.mark.parametrize(
    ("name", "content", "saying"),
    [
        ("a.csv", "", "it is empty"),
        ("a.csv", "a,b\n1,2\n", "source and target .* input, output and response, or node .* 'a, b'"),
        ("a.csv", "Input,output,response\na,a,1\n", "'Input' looks like `input`"),
        ("a.csv", "input,output,responses\na,a,1\n", "'responses' looks like `response`"),
        ("a.csv", "input,output,response,Error\na,a,1,2\n", "'Error' looks like `error`"),
        ("a.csv", "input,output,response,errors\na,a,1,2\n", "'errors' looks like `error`"),
        ("a.csv", "input,output,response,response\na,a,1,2\n", "'response' stands there twice"),
        ("a.csv", "input,output,response\n", "must hold readings"),
        (
            "a.csv",
            "input,output,response\na,a,\n",
            "`response` in line 2 must be a finite number, but it is ''",
        ),
        ("a.csv", "input;output;response\na;a;0,5\n", "decimal point"),
        ("a.csv", "input,output,response\na,a,nan\n", "`response` in line 2"),
        ("a.csv", "input,output,response\na,a,1e999\n", "`response` in line 2"),
        ("a.csv", "input,output,response\na,,1\n", "output in line 2 must name a node"),
        ("a.csv", "input,output,response,error\na,a,1,-1\n", "`error` in line 2 .* not negative"),
        ("a.csv", "input,output,response,error\na,a,1,\n", "`error` in line 2"),
        ("a.csv", "input,output,response\na,a,1\na,b,1\nb,b,1\n", "none of 'a' under 'b'"),
        ("a.csv", "input,output,response\na,a,1\na,b,1\nb,a,1\n", "none of 'b' under 'b'"),
        ("a.csv", "input,output,response\na,a,1\na,b,1\nc,b,1\n", "input 'c' in line 4 must be read too"),
        ("a.csv", "input,output,response\na,a,1e308\na,a,1e308\n", "too large to be averaged"),
        ("a.csv", "input,output,response,error\na,a,1,1e200\n", "too large to be averaged"),
        ("a.csv", f"input,output,response\n{'x' * 201},a,1\n", "at most 200"),
        ("a.csv", "node,a\na,1\na,2\n", "line 3 repeats the node 'a'"),
        ("a.csv", "node,a,a\na,1,2\n", "'a' stands there twice"),
        ("a.csv", "node,a,b\na,1,2\n", "driven node 'b' must be read too"),
        ("a.csv", "node,error,a\na,1,2\n", "driven node 'error' must be read too"),
        ("a.csv", "node,a\n", "must hold readings"),
        ("a.csv", "node\na\n", "a column for every driven node"),
        ("a.csv", "node,error\na,1\n", "a column for every driven node"),
        ("a.csv", "node,a\na,x\n", "column 'a' in line 2 must be a finite number, but it is 'x'"),
        ("a.csv", "node,a\na,inf\n", "column 'a' in line 2"),
        ("a.csv", "node,a,\na,1,2\n", "column 3 must name a node"),
        ("a.csv", "node,a\na,1,2\n", "line 2 must have 2 cells"),
        ("a.csv", "node,a,error\na,1,-2\n", "`error` in line 2"),
        ("a.csv", "1,2\n3,4\n5,5\n", "square, but it has more than 2 lines of 2 cells"),
        ("a.csv", "1,2,3\n3,3,5\n", "square, but it has 2 lines of 3 cells"),
        ("a.csv", "1,2,3,4\n" * 5, "square, but it has more than 4 lines of 4 cells"),
        ("a.csv", "1,nan\n3,4\n", "column '2' in line 1 must be a finite number, but it is 'nan'"),
        ("a.csv", "1,2\n3,four\n", "column '2' in line 2"),
        ("a.csv", b"1,2\n3,\xff\n", "no UTF-8"),
        ("a.csv", b"1,2\n3,\0\n", "NUL"),
        ("a.npy", b"junk", "the file is no NumPy array"),
        ("a.npy", b"\x93NUMPY\x01\x00\xff\xff{", "the file is no NumPy array"),
        ("a.npz", b"junk", "no .npz archive"),
        ("a.npz", {"response": TWO}, "'response' looks like `responses`"),
        ("a.npz", {"x": TWO}, "`edges` or `matrix`|`responses`"),
        ("a.npz", {"responses": OBJECTS}, "pickled Python objects"),
        ("a.npz", {"responses": np.array([["a"]])}, "`responses` must hold numbers"),
        ("a.npz", {"responses": np.ones(3)}, "along 2 axes"),
        ("a.npz", {"responses": TWO}, "must hold an array `driven`"),
        ("a.npz", {"responses": TWO, "driven": np.array([0, 3])}, "2 different rows"),
        ("a.npz", {"responses": TWO, "driven": np.array([1, 1])}, "2 different rows"),
        ("a.npz", {"responses": TWO, "driven": np.array([0])}, "2 different rows"),
        ("a.npz", {"responses": TWO, "driven": np.array([0.0, 0.5])}, "`driven` must hold integers"),
        ("a.npz", {"responses": np.array([[np.inf]])}, r"entry \[0, 0\] is not"),
        ("a.npz", {"responses": np.eye(2), "errors": TWO}, "2 by 2 standard deviations"),
        ("a.npz", {"responses": np.eye(2), "errors": -np.eye(2)}, "none negative"),
        ("a.npz", {"responses": np.eye(2), "labels": np.array(["a", "a"])}, "'a' stands there twice"),
        ("a.npz", {"responses": np.eye(2), "edges": np.array([[0, 1]])}, "network or responses"),
        ("a.npz", {"responses": np.ones((20_001, 1))}, "20001 by 1 responses"),
        ("a.npz", {"responses": np.ones((4001, 4001), np.int8)}, "4001 by 4001 responses"),
    ],
)
def test_broken_responses_are_refused(name, content, saying, tmp_path):
    with pytest.raises(jp.InputError, match=saying) as caught:
        read_measured(written(tmp_path, name, content))
    assert name in str(caught.value)
    assert_one_line(caught.value)


def test_a_matrix_of_objects_is_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    np.save(tmp_path / "a.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    with pytest.raises(jp.InputError, match="the file holds pickled Python objects"):
        read_responses(tmp_path / "a.npy")
    assert not (tmp_path / "sprung").exists()


def test_pipes_and_devices_are_refused_before_they_are_opened(tmp_path):
    for suffix in (".csv", ".tsv", ".npz", ".npy"):
        os.mkfifo(tmp_path / f"pipe{suffix}")
        (tmp_path / f"device{suffix}").symlink_to("/dev/zero")
        for name in ("pipe", "device"):
            with pytest.raises(jp.InputError, match="a pipe, a device"):
                read_measured(tmp_path / f"{name}{suffix}")


def test_only_input_errors_come_from_broken_files(tmp_path):
    matrix = "node,in,out\nin,1.5,0.25\nout,0.25,2.0\nb,1,2\n"
    files = [written(tmp_path, "a.csv", readings(error=0.5)), written(tmp_path, "b.csv", matrix)]
    files.append(written(tmp_path, "c.csv", "1.5,0.25,3\n0.25,2.0,4\n1,2,3\n"))
    files.append(written(tmp_path, "d.npz", {"responses": np.eye(3), "errors": np.ones((3, 3))}))
    np.save(tmp_path / "e.npy", np.eye(3))
    for path in [*files, tmp_path / "e.npy"]:
        copies = mutations(path.read_bytes(), np.random.default_rng(14))
        outcomes = {"read": 0, "refused": 0}
        for _ in range(300):
            path.write_bytes(next(copies))
            try:
                found = quietly(read_measured, path)
            except jp.InputError as error:
                assert_one_line(error)
                outcomes["refused"] += 1
            else:
                assert isinstance(found, ResponseFile)
                assert found.responses.shape == (len(found.labels), len(found.driven))
                assert np.isfinite(found.responses).all()
                outcomes["read"] += 1
        assert min(outcomes.values()) > 0, (path.name, outcomes)


def test_only_input_errors_come_from_broken_arrays(tmp_path):
    whole = {"responses": np.eye(3), "errors": np.eye(3), "driven": np.arange(3), "labels": np.array(NAMES)}
    members = {}
    for name, array in whole.items():
        np.save(tmp_path / "a.npy", array)
        members[f"{name}.npy"] = (tmp_path / "a.npy").read_bytes()
    for name, content in members.items():
        copies = mutations(content, np.random.default_rng(15))
        outcomes = {"read": 0, "refused": 0}
        for _ in range(200):
            archive(tmp_path / "a.npz", **(members | {name: next(copies)}))
            try:
                found = quietly(read_measured, tmp_path / "a.npz")
            except jp.InputError as error:
                assert_one_line(error)
                outcomes["refused"] += 1
            else:
                assert np.isfinite(found.responses).all()
                outcomes["read"] += 1
        assert min(outcomes.values()) > 0, (name, outcomes)


def test_a_table_as_pandas_writes_it(tmp_path):
    """The corner cell is empty there."""
    path = tmp_path / "frame.csv"
    path.write_text(",a,b\na,0.75,0.25\nb,0.25,0.5\n")
    read = read_responses(path)
    assert (read.labels, read.responses.tolist()) == (("a", "b"), [[0.75, 0.25], [0.25, 0.5]])
