"""One trainer a folder."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from flava_parts.errors import InputError
from flava_parts.train.checkpoints.run_lock import OWNER, run_lock

HOLD = """
import sys, time
from pathlib import Path
from flava_parts.train.checkpoints.run_lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_trainer_is_refused_by_pid_and_host_until_the_first_is_killed(tmp_path: Path) -> None:
    """A lock whose holder was killed counts for nothing."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert "held\n" == holder.stdout.readline()
        with pytest.raises(InputError) as caught, run_lock(tmp_path):
            pass
        holder.kill()
        holder.wait()
        left = json.loads((tmp_path / OWNER).read_text())
        with run_lock(tmp_path):
            now = json.loads((tmp_path / OWNER).read_text())

    expected = f"process {holder.pid} on {socket.gethostname()} trains here already; choose another --out"
    assert f"{tmp_path}: {expected}" == str(caught.value)
    assert holder.pid == left["pid"]
    assert os.getpid() == now["pid"]
    assert not (tmp_path / OWNER).exists()


def test_an_owner_that_cannot_be_read_is_another_process(tmp_path: Path) -> None:
    with run_lock(tmp_path):
        (tmp_path / OWNER).write_text('{"pid": "x"}')
        with pytest.raises(InputError, match="another process trains here already"), run_lock(tmp_path):
            pass


def test_it_can_be_taken_again(tmp_path: Path) -> None:
    for _ in range(2):
        with run_lock(tmp_path):
            assert (tmp_path / OWNER).exists()
