"""What a person sees of a run: plain lines in a file, a bar on a terminal, evaluations at the end."""

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flava_parts.train import console
from flava_parts.train.console import Console, evaluation_table

EVALUATION = {
    "step": 60,
    "retrieval/image_to_text/top1": 0.0732,
    "retrieval/image_to_text/top10": 1.0,
    "retrieval/text_to_image/top1": 0.5,
}
TABLE = """\
after step 60              top1    top10
retrieval/image_to_text   7.3 %  100.0 %
retrieval/text_to_image  50.0 %
"""


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until its one entry is changed."""
    now = [1000.0]
    monkeypatch.setattr(console, "monotonic", lambda: now[0])
    return now


def run(observer: Console, clock: list[float], *, steps: int, begin: int = 0, seconds: float = 0.5) -> None:
    """Steps of two streams, 100 images in each second one."""
    observer.begin(step=begin, steps=steps)
    for step in range(begin + 1, steps + 1):
        clock[0] += seconds
        if step % 2:
            observer.stepped({"step": step, "stream": "texts", "loss": 4.0, "loss/mlm": 4.0, "images": 0})
        else:
            observer.stepped({"step": step, "stream": "paired", "loss": 0.02 * step, "loss/itm": 0.2, "images": 100})
    observer.end()


def test_plain_lines(capsys: pytest.CaptureFixture[str], clock: list[float]):
    """A line every so many steps and at the last one, on stderr; losses are means over the streams' own steps."""
    run(Console(folder=Path("runs/[red]1"), every=20), clock, steps=50)

    out, err = capsys.readouterr()
    assert "" == out
    assert err.splitlines() == [
        "runs/[red]1: 50 steps",
        "step 20/50  loss 2.11  mlm 4.00  itm 0.20  100 images/s  15s left",
        "step 40/50  loss 2.31  mlm 4.00  itm 0.20  100 images/s  5s left",
        "step 50/50  loss 2.41  mlm 4.00  itm 0.20  100 images/s  took 25s",
        "after 50 steps     first      last",
        "loss                2.11      2.41",
        "mlm                 4.00      4.00",
        "itm                 0.20      0.20",
        "100 images/s  took 25s",
    ]


def test_what_steps_cost_stands_beside_their_speed(capsys: pytest.CaptureFixture[str], clock: list[float]):
    """Shares of the time by how long each step took, and the most memory."""
    observer = Console(folder=Path("run"), every=2)
    observer.begin(step=0, steps=3)
    for step, (seconds, data, mfu) in enumerate([(1.0, 0.5, 0.2), (3.0, 0.1, 0.4)], start=1):
        clock[0] += seconds
        cost = {"seconds": seconds, "data_share": data, "mfu": mfu, "memory": 1_250_000_000 * step}
        observer.stepped({"step": step, "loss": 1.0, "images": 8, **cost})

    assert (
        "step 2/3  loss 1.00  4 images/s  data 20 %  MFU 35 %  2.5 GB  2s left"
        == capsys.readouterr().err.split("\n")[1]
    )


def test_trouble_is_said_and_a_step_that_was_left_out_is_in_no_mean(capsys: pytest.CaptureFixture[str]):
    observer = Console(folder=Path("run"), every=1)
    observer.begin(step=0, steps=9)
    observer.stepped({"step": 1, "loss": 1.0})
    observer.stepped({"step": 2, "loss": float("nan"), "skipped": 1, "trouble": "step 2: the loss is not finite"})

    lines = capsys.readouterr().err.splitlines()
    assert "step 2: the loss is not finite" == lines[2]
    assert lines[3].startswith("step 2/9  loss 1.00  ")


def test_going_on(capsys: pytest.CaptureFixture[str], clock: list[float]):
    """Speed and time are those of this run, not of the steps before it; the last step is shown once."""
    run(Console(folder=Path("run"), every=20), clock, steps=600, begin=580, seconds=3600)

    lines = capsys.readouterr().err.splitlines()
    assert ["run: 600 steps, going on after step 580"] == lines[:1]
    assert lines[1].startswith("step 600/600  ")
    assert lines[1].endswith("took 20h00m")
    assert 1 == sum(line.startswith("step") for line in lines)


def test_speed_without_images_and_time_that_stands_still(capsys: pytest.CaptureFixture[str], clock: list[float]):
    """Texts alone are counted in steps; neither a clock that stands still nor one step is divided by zero."""
    observer = Console(folder=Path("run"), every=1)
    observer.begin(step=0, steps=100_000)
    observer.stepped({"step": 1, "loss": float("nan")})
    clock[0] += 20
    observer.stepped({"step": 2, "loss": 1e-5})

    lines = capsys.readouterr().err.splitlines()
    assert lines[1].startswith("step 1/100000  loss nan  ")
    assert "step 2/100000  loss 1e-05  0.10 steps/s  11d13h left" == lines[2]


def test_an_evaluation_on_the_way_is_a_line_on_stderr(capsys: pytest.CaptureFixture[str]):
    observer = Console(folder=Path("run"))
    observer.begin(step=0, steps=100)
    observer.evaluated({"step": 60, "retrieval/image_to_text/top1": 0.0732, "probe/loss": 1.23456, "best": "knn"})

    out, err = capsys.readouterr()
    assert "" == out
    assert "step 60/100  retrieval/image_to_text/top1 7.3 %  probe/loss 1.235  best knn" == err.splitlines()[-1]


@pytest.mark.parametrize("ended", [False, True])
def test_the_last_evaluation_is_a_table_on_stdout(capsys: pytest.CaptureFixture[str], ended: bool):
    """Whether it is made before or after the run has ended."""
    observer = Console(folder=Path("run"))
    observer.begin(step=59, steps=60)
    observer.stepped({"step": 60, "loss": 1.0})
    if ended:
        observer.end()
    observer.evaluated(EVALUATION)

    assert TABLE == capsys.readouterr().out


def test_a_table_of_nothing_and_of_lone_measures():
    assert "after step 1" == evaluation_table("after step 1", {})
    assert "after  accuracy\n            0.5" == evaluation_table("after", {"accuracy": 0.5})


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], clock: list[float]):
    """The bar shows step, losses, speed and time left; evaluations do not get into it; the cursor comes back."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    observer = Console(folder=Path("run"))
    observer.begin(step=0, steps=60)
    for step in range(1, 41):
        clock[0] += 0.5
        observer.stepped({"step": step, "loss": 2.0, "loss/[bold]": 2.0, "images": 50})
    observer.evaluated({"step": 40, "probe/top1": 0.25})
    observer.end()
    observer.end()
    observer.evaluated(EVALUATION)

    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", terminal.getvalue())
    assert re.search(r"step 40/60 +[━╸╺]+ +100 images/s  10s left", shown)
    assert "loss 2.00  [bold] 2.00" in shown
    assert "step 40/60  probe/top1 25.0 %" in shown
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h") == 1
    assert terminal is sys.stderr
    assert TABLE == capsys.readouterr().out


@pytest.mark.parametrize("width", ["1", "20", "500"])
def test_a_bar_of_any_width(monkeypatch: pytest.MonkeyPatch, clock: list[float], width: str):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("TERM", "xterm")

    run(Console(folder=Path("run")), clock, steps=5)


def test_rich_is_loaded_for_a_terminal_only():
    code = """if True:
        import sys
        from pathlib import Path
        from flava_parts.train.console import Console
        observer = Console(folder=Path("run"))
        observer.begin(step=0, steps=1)
        observer.stepped({"step": 1, "loss": 1.0})
        observer.evaluated({"step": 1, "a/top1": 0.5})
        assert not {"rich", "torch"} & set(sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (0, "after step 1    top1\na             50.0 %\n") == (done.returncode, done.stdout), done.stderr
