"""The notebooks run at small size, and what is committed of them is what the scripts beside them gave."""

import ast
import io
import json
import linecache
import re
from pathlib import Path

import jupytext
import matplotlib
import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "notebooks").glob("[0-9]*.py"))
# An absolute path, of whatever machine.
PATH = re.compile(r"""(?:^|[\s'"(=:])(?:/[\w.+-]+){2,}|\b[A-Za-z]:\\\w""", re.MULTILINE)

pytestmark = pytest.mark.float64
each_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
each_notebook = pytest.mark.parametrize(
    "notebook", [script.with_suffix(".ipynb") for script in SCRIPTS], ids=lambda path: path.stem
)


def test_there_are_six():
    assert len(SCRIPTS) == 6
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == {script.stem for script in SCRIPTS}


def cells_of(script):
    """Type and source of every cell of a percent script."""
    cells = jupytext.reads(script.read_text(encoding="utf-8"), fmt="py:percent").cells
    return [(cell.cell_type, cell.source) for cell in cells]


def run_cell(source, name, namespace):
    """Run a cell as a kernel does: what its last line says is shown, and so are pyplot's figures."""
    lines = ["" if line.startswith("%") else line for line in source.splitlines()]
    # So that a traceback shows the line.
    linecache.cache[name] = (len(source), None, [f"{line}\n" for line in lines], name)
    tree = ast.parse("\n".join(lines), name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), namespace)
    shown = [plt.figure(number) for number in plt.get_fignums()]
    if last is not None:
        value = eval(compile(ast.Expression(last.value), name, "eval"), namespace)
        shown += [value] if isinstance(value, Figure) else []
    for figure in shown:
        figure.savefig(io.BytesIO())
    plt.close("all")


# Not in a kernel for each, which would take its start, imports and compilations of what others compiled too.
@each_script
def test_runs_at_small_size(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAXPHYS_SMALL", "1")
    namespace = {"__name__": "__main__"}
    with matplotlib.rc_context():
        plt.switch_backend("Agg")
        for number, (kind, source) in enumerate(cells_of(script), start=1):
            if kind == "code":
                run_cell(source, f"{script.name}, cell {number}", namespace)
    assert namespace["small"] is True


def test_a_cell_that_fails_is_seen():
    with pytest.raises(AssertionError):
        run_cell("%matplotlib inline\nx = 1\nassert x == 2", "cell", {})
    # No font has this character, so drawing the figure that the cell shows warns.
    with pytest.raises(UserWarning, match="missing from font"):
        run_cell("f = Figure()\nf.suptitle('\\U0010fffd')\nf", "cell", {"Figure": Figure})


@each_notebook
def test_is_paired_with_its_script(notebook):
    content = json.loads(notebook.read_text(encoding="utf-8"))
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in content["cells"]]
    assert cells == cells_of(notebook.with_suffix(".py")), "`make notebooks` runs the scripts anew"


@each_notebook
def test_every_cell_was_run_in_order(notebook):
    content = json.loads(notebook.read_text(encoding="utf-8"))
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert not [output for output in outputs if output.get("name") == "stderr"]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert pictures
    # A figure that no backend turned into a picture is told by its class.
    assert not any("image/png" not in o["data"] and "<Figure" in str(o) for o in outputs if "data" in o)


@each_notebook
def test_holds_no_trace_of_the_machine(notebook):
    text = notebook.read_text(encoding="utf-8")
    assert len(text.encode()) <= 600_000
    content = json.loads(text)
    assert set(content["metadata"]) == {"kernelspec", "language_info"}
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    assert "version" not in content["metadata"]["language_info"]
    assert not any(cell["metadata"] for cell in content["cells"])
    for cell in content["cells"]:
        for output in cell.get("outputs", ()):
            printed = output.get("text", output.get("data", {}).get("text/plain", ""))
            assert not PATH.search("".join(printed))
            assert " at 0x" not in "".join(printed)


@pytest.mark.parametrize(
    "text", ["/home/me/x.py", "File '/usr/lib/a.so'", r"C:\Users", "at:\n/a/b", "path=/srv/data/run.nc"]
)
def test_a_path_is_seen(text):
    assert PATH.search(text)


@pytest.mark.parametrize("text", ["λ after / λ before", "1/37 of it", "C / C(0)", "runs/iris/run.nc"])
def test_no_path_is_seen_where_there_is_none(text):
    assert not PATH.search(text)


@each_script
def test_links_lead_somewhere(script):
    text = "\n".join(source for kind, source in cells_of(script) if kind == "markdown")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (script.parent / target).exists(), target
