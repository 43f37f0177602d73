"""A plugin that is a file goes along with its parts to other processes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from flava_parts.plugin_file import PluginFiles, load_file

ARRIVES = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read())[-1].says())"


def arrived(*things: object) -> subprocess.CompletedProcess[bytes]:
    """What a fresh process makes of things that are sent to it."""
    return subprocess.run([sys.executable, "-c", ARRIVES], input=pickle.dumps(things), capture_output=True, check=False)


def test_parts_of_a_file_arrive_behind_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named by a relative path; not without it: the file's folder is on nobody's path."""
    (tmp_path / "told_of_nowhere.py").write_text("class Thing:\n    def says(self):\n        return 'here'\n")
    monkeypatch.chdir(tmp_path)
    thing = load_file("told_of_nowhere.py").Thing()
    monkeypatch.chdir("/")
    with_file, alone = arrived(PluginFiles(), thing), arrived(thing)
    del sys.modules["told_of_nowhere"]

    assert b"here\n" == with_file.stdout, with_file.stderr
    assert b"No module named 'told_of_nowhere'" in alone.stderr
