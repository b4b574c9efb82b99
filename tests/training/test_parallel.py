"""Many devices and many processes: the same results, and nobody waits for the dead."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr
from helpers import assert_identical, assert_refused
from processes import ROOT, end, environment, start, start_two

import jaxphys as jp
from jaxphys.solvers.star_mesh import MeshRoom, StarMesh, draft_mesh
from jaxphys.training import devices
from jaxphys.training.solver_choice import BlockSolvers, room_sizes

# Processes of their own, each in double precision.
pytestmark = pytest.mark.float64

CONFIG = """
realizations = 7
steps = 60
record_every = 20
block = 2
checkpoint_seconds = 0.0
stop_cost = 1e-30
record = ["k", "effective_conductance"]
[network]
kind = "flow"
graph = { kind = "erdos_renyi", nodes = 12, edges = 18 }
[task]
kind = "allostery"
response = 0.2
[rule]
kind = "coupled_learning"
[optimizer]
kind = "momentum"
rate = 0.05
noise = 1e-3
"""
# Own graphs that differ in shape, so that plans of different blocks must be given one room.
PLANNED = ["--set", 'solver="star_mesh"']


def assert_same_file(one, other):
    with xr.open_dataset(one / "run.nc") as a, xr.open_dataset(other / "run.nc") as b:
        assert set(a.variables) == set(b.variables)
        for name in a.variables:
            assert_identical(a[name].values, b[name].values)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "run.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def alone(config, tmp_path_factory):
    """The run of one process on one device, by sparse elimination."""
    out = tmp_path_factory.mktemp("alone") / "run"
    statuses, printed = end([start(config, out, *PLANNED)])
    assert statuses == [0], printed
    return out


def test_two_processes_of_two_devices_give_the_same_run(config, alone, tmp_path):
    out = tmp_path / "run"
    statuses, printed = end(start_two(config, out, *PLANNED))
    assert statuses == [0, 0], printed
    assert "4 blocks of 2 to train on 4 devices" in printed[0]
    assert printed[1] == "" or "median" not in printed[1]
    assert_same_file(out, alone)
    assert not (out / "blocks").exists()


# The second process draws no realization from some number on.
REFUSING = """
import os, sys, jax
from jaxphys import InputError, cli
from jaxphys.config import Batch
draw = Batch.draw
def refusing(self, first, last):
    if jax.process_index() == 1 and last > int(os.environ["LAST_DRAWN"]):
        raise InputError("No such graph was found.")
    return draw(self, first, last)
Batch.draw = refusing
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("last", "status"), [(0, 2), (4, 75)], ids=["before training", "while training"])
def test_what_one_of_two_processes_refuses_ends_both(last, status, config, tmp_path):
    """Nobody waits for the one that is refused: the other is told, or saves and says how to go on."""
    out = tmp_path / "run"
    statuses, printed = end(start_two(config, out, program=("-c", REFUSING), LAST_DRAWN=str(last)), 120)
    assert statuses == [status, 2], printed
    assert f"{config}: No such graph" in printed[1]
    assert ("--resume" if status == 75 else "Another process was refused") in printed[0]


def test_one_of_two_processes_is_killed(config, tmp_path):
    """The other one stops and says how to go on; together they then reach the end of an undisturbed run."""
    longer = [*PLANNED, "steps=20000"]
    out, whole = tmp_path / "run", tmp_path / "whole"
    processes = start_two(config, out, *longer)
    deadline = time.monotonic() + 120
    while not list(out.glob("checkpoints/*.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    processes[1].send_signal(signal.SIGKILL)
    statuses, printed = end(processes, timeout=120)
    assert statuses[1] == -signal.SIGKILL
    assert statuses[0] == 75
    assert "--resume" in printed[0], printed
    assert "Traceback" not in printed[0]
    statuses, printed = end(start_two(config, out, "--resume", *longer))
    assert statuses == [0, 0], printed
    assert end([start(config, whole, *longer)])[0] == [0]
    assert_same_file(out, whole)


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 75), ("SIGINT", 130)])
def test_a_signal_saves_and_stops(config, alone, tmp_path, name, status):
    """Within 20 seconds, with a status of its own; the run goes on from there, here on three devices."""
    out = tmp_path / "run"
    process = start(config, out, *PLANNED)
    while not (out / "config.toml").exists() and process.poll() is None:
        time.sleep(0.01)
    begin = time.monotonic()
    process.send_signal(getattr(signal, name))
    statuses, printed = end([process], timeout=20)
    assert time.monotonic() - begin < 20
    assert statuses == [status], printed
    assert "--resume" in printed[0]
    statuses, printed = end([start(config, out, "--resume", *PLANNED, devices=3)])
    assert statuses == [0], printed
    assert_same_file(out, alone)


def test_processes_are_found_in_the_environment_of_slurm(config, alone, tmp_path):
    """As `srun` sets it for two tasks on this machine."""
    out = tmp_path / "run"
    slurm = {
        "SLURM_JOB_ID": str(20000 + os.getpid() % 20000),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2",
    }
    processes = [
        start(config, out, "--distributed", *PLANNED, SLURM_PROCID=str(i), SLURM_LOCALID=str(i), **slurm)
        for i in range(2)
    ]
    statuses, printed = end(processes)
    assert statuses == [0, 0], printed
    assert "on 2 devices" in printed[0]
    assert_same_file(out, alone)


SRUN = """#!/usr/bin/env bash
# As the real one: the command once for each task, here all on this machine.
while [[ $1 == --* ]]; do shift; done
for i in 0 1; do SLURM_PROCID=$i SLURM_LOCALID=$i "$@" & tasks+=($!); done
worst=0
for task in "${tasks[@]}"; do wait "$task" || worst=$?; done
exit $worst
"""


def test_the_script_for_slurm(config, alone, tmp_path):
    """Run as SLURM would: once to a warning that time is up, which requeues it; then to its end."""
    tools = tmp_path / "bin"
    tools.mkdir()
    out = tmp_path / "run"
    for name, text in {
        "srun": SRUN,
        "jaxphys": f'#!/usr/bin/env bash\nexec "{sys.executable}" -m jaxphys "$@"\n',
        "scontrol": f'#!/usr/bin/env bash\necho "$@" > "{tmp_path}/requeued"\n',
    }.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    settings = environment(
        PATH=f"{tools}:{os.environ['PATH']}",
        SLURM_JOB_ID="4242",
        SLURM_STEP_NODELIST="localhost",
        SLURM_NTASKS="2",
        SLURM_STEP_NUM_TASKS="2",
    )
    script = ["bash", "examples/cluster/train.sbatch", str(config), str(out), 'solver="star_mesh"']
    process = subprocess.Popen(
        script,
        env=settings,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    while not (out / "config.toml").exists() and process.poll() is None:
        time.sleep(0.01)
    # SLURM signals the steps, which are what srun started, and not the script.
    trainers = subprocess.run(
        ["pgrep", "-g", str(process.pid), "-f", "jaxphys train"], capture_output=True, text=True
    )
    for number in trainers.stdout.split():
        command = subprocess.run(["ps", "-o", "comm=", "-p", number], capture_output=True, text=True).stdout
        if "python" in Path(command.strip()).name.lower():
            os.kill(int(number), signal.SIGTERM)
    statuses, printed = end([process])
    assert statuses == [75], printed
    assert (tmp_path / "requeued").read_text() == "requeue 4242\n"
    again = subprocess.run(script, env=settings, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert again.returncode == 0, again.stderr
    assert_same_file(out, alone)


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        (("localhost:1", None, 0), "`coordinator`"),
        (("localhost:1", 0, 0), "`processes`"),
        (("localhost:1", 2, 2), "`process`"),
    ],
)
def test_processes_that_cannot_be(arguments, saying):
    with pytest.raises(jp.InputError, match=saying):
        jp.start_processes(*arguments)


def test_blocks_are_of_like_size():
    most = {"cpu": 64, "gpu": 1024}[jax.default_backend()]
    for realizations in (1, most - 1, most, most + 1, 3 * most + 1, 100_000):
        size = devices.default_block(realizations)
        blocks = -(-realizations // size)
        assert size <= most
        assert blocks == -(-realizations // most)
        assert blocks * size - realizations < blocks


def test_there_is_memory():
    assert 2**20 < devices.available_memory() < 2**50


def planned(realizations=3, seed=0):
    """Flow networks on graphs of their own, and what `StarMesh` is planned for."""
    networks, tasks = [], []
    for i in range(realizations):
        network = jp.FlowNetwork(
            jp.erdos_renyi(12, 18, jax.random.key(100 * seed + i)), k=np.linspace(1, 2, 18)
        )
        tasks.append(jp.allostery(network, jp.Boundary(network, ground=[0]), [1], [2], response=0.2))
        networks.append(network)
    return jp.stack(networks), jp.stack(tasks)


def test_room_to_spare_changes_no_bit():
    """Which room a plan is given depends on the blocks that were there before, and so on the devices."""
    network, task = planned()
    arguments = network.topology.edges, task.boundary.rows
    draft = draft_mesh(*arguments)
    room = draft.room
    wider = room._replace(elimination=room.elimination.with_spare(1), parallel=room.parallel + 1)
    other = draft_mesh(planned(seed=1)[0].topology.edges, task.boundary.rows).room
    assert room.joined(other) != room

    def states(solver):
        return jax.jit(jax.vmap(lambda n, t: jp.respond(n, t, solver=solver).drive))(network, task)

    expected = states(StarMesh(*arguments))
    for each in (wider, room.joined(other), other.joined(room)):
        assert_identical(states(StarMesh(*arguments, room=each)), expected)


def test_plans_of_one_run_have_one_shape():
    """Blocks to come fit into the room of the first, or widen it for those behind them."""
    solvers = BlockSolvers(jp.StarMesh.for_task, alone=False)
    first = solvers([planned(seed=i) for i in range(2)])
    later = solvers([planned(seed=i) for i in range(2, 5)])

    def shapes(solver):
        return jax.tree.structure(solver), [leaf.shape for leaf in jax.tree.leaves(solver)]

    assert shapes(first[0]) == shapes(first[1])
    assert shapes(later[0]) == shapes(later[1]) == shapes(later[2])
    assert shapes(solvers([planned(seed=i) for i in range(5)])[0]) == shapes(later[0])


def test_plans_of_foreseen_blocks_are_made_to_measure():
    """Room to spare costs time; there is none where all blocks are known, and little where some are."""
    blocks = [planned(seed=i) for i in range(4)]

    def room(all_of_them):
        solvers = BlockSolvers(jp.StarMesh.for_task, alone=False)
        solvers.foresee(blocks, all_of_them=all_of_them)
        solvers(blocks[:1])
        return room_sizes(solvers.room)

    drafts = [draft_mesh(*StarMesh.plan_arguments(*block)) for block in blocks]
    exact = room_sizes(functools.reduce(MeshRoom.joined, (draft.room for draft in drafts)))
    assert_identical(room(True), exact)
    assert (room(False) >= exact).all()
    # Of the widths of a level, which multiply its work, nothing is spare.
    widths = np.arange(len(exact) - 4) % 4
    grown = (room(False) > exact)[4:][exact[4:] > 0]
    assert not grown[np.isin(widths[exact[4:] > 0], (1, 2))].any()


def test_a_plan_for_one_ensemble_serves_no_blocks():
    network, task = planned()
    assert_refused(
        "solver",
        jp.train,
        network,
        task,
        steps=1,
        devices=jp.Devices(block=1),
        solver=jp.StarMesh.for_task(network, task),
    )
