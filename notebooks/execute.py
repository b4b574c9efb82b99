"""Run notebooks at full size and write their outputs: `python notebooks/execute.py [NAME.py ...]`.

The percent script `NAME.py` is the source. It runs in a kernel of this very interpreter, in an empty folder,
and `NAME.ipynb` takes its place with what came out; nothing is written if a cell fails. What differs from one
run or machine to the next without being a result (times of execution, kernels, random cell ids) is left out.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
# What viewers need to colour the code and to pick a kernel, and no versions.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}


def sources(path: Path) -> nbformat.NotebookNode:
    """The cells of a percent script, without outputs, numbered instead of named at random."""
    notebook = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    cells = []
    for number, cell in enumerate(notebook.cells, start=1):
        make = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
        cells.append(make(cell.source, id=f"cell-{number}"))
    return nbformat.v4.new_notebook(cells=cells, metadata=METADATA)


class ThisInterpreter(AsyncKernelManager):
    """Kernels of the interpreter that runs this file, whatever kernels are installed under which name."""

    @property
    def kernel_spec(self) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
        return KernelSpec(argv=command, language="python", display_name="Python 3")


def execute(path: Path) -> Path:
    """Run one notebook and write it beside its script."""
    notebook = sources(path)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            kernel_manager_class=ThisInterpreter,
            timeout=1800,
            record_timing=False,
            resources={"metadata": {"path": folder}},
        )
        client.execute()
    notebook.metadata = METADATA
    merge_streams(notebook)
    target = path.with_suffix(".ipynb")
    target.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    return target


def merge_streams(notebook: nbformat.NotebookNode) -> None:
    """Text that a cell printed in several chunks, as one: where it is cut depends on timing."""
    for cell in notebook.cells:
        merged: list[nbformat.NotebookNode] = []
        for output in cell.get("outputs", ()):
            same = merged and output.output_type == "stream" == merged[-1].output_type
            if same and output.name == merged[-1].name:
                merged[-1].text += output.text
            else:
                merged.append(output)
        if cell.cell_type == "code":
            cell.outputs = merged


def main() -> None:
    """Run what is named, or all."""
    # A reader runs them with whatever is set; the outputs that are kept are those of the full size.
    os.environ.pop("JAXPHYS_SMALL", None)
    for path in map(Path, sys.argv[1:] or sorted(map(str, HERE.glob("[0-9]*.py")))):
        start = time.perf_counter()
        target = execute(path)
        print(f"{target.name}: {time.perf_counter() - start:.0f} s, {target.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
