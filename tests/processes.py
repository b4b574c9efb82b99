"""The command line in processes of its own: one, or two that train together."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def environment(devices=1, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    return {**kept, "JAX_NUM_CPU_DEVICES": str(devices), "NPROC": "16", **more}


def start(config, out, *arguments, program=("-m", "jaxphys"), **settings):
    command = [sys.executable, *program, "train", str(config), "--out", str(out), *arguments]
    return subprocess.Popen(
        command,
        env=environment(**settings),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_two(config, out, *arguments, **settings):
    """Two processes of two devices each."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    join = ("--coordinator", address, "--processes", "2", "--process")
    return [start(config, out, *join, str(i), *arguments, devices=2, **settings) for i in range(2)]


def end(processes, timeout=240):
    """Exit statuses and what was printed; nobody is left behind."""
    try:
        printed = [process.communicate(timeout=timeout)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], printed
