"""Whatever happens to a run, in whatever order, its state is always that of the undisturbed run at its step."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from train.small_state import equal, save, small_state, trained, update

from flava_parts.train.checkpoints.loading import checkpoints_in, newest_checkpoint, open_checkpoint, what_is_wrong

STRAIGHT = [trained(steps) for steps in range(40)]


class Histories(RuleBasedStateMachine):
    """Steps, saves, kills in the middle of a save, damage on the disk, and going on from what is left."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.state = small_state()

    @rule(steps=st.integers(1, 3))
    def step(self, steps: int) -> None:
        for _ in range(min(steps, len(STRAIGHT) - 1 - self.state.step)):
            update(self.state)

    @rule()
    def save(self) -> None:
        path = save(self.folder, self.state, keep_last=2)

        assert what_is_wrong(path) is None
        assert [] == [path.name for path in self.folder.iterdir() if path.name.startswith(".tmp")]

    @rule()
    def kill(self) -> None:
        """What is in memory is gone; another process goes on."""
        self.state = small_state(seed=1)
        newest = newest_checkpoint(self.folder, say=lambda _: None)
        if newest is None:
            self.state = small_state()
        else:
            self.state.restore(open_checkpoint(newest))

    @rule()
    def kill_while_saving(self) -> None:
        half = self.folder / f".tmp-step-{self.state.step:08d}-0123"
        half.mkdir(exist_ok=True)
        (half / "model.safetensors").write_bytes(b"half")
        self.kill()

    @precondition(lambda self: len([p for p in checkpoints_in(self.folder) if what_is_wrong(p) is None]) > 1)
    @rule(file=st.sampled_from(["model.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"]))
    def damage(self, file: str) -> None:
        """The newest loses its last byte; another one is still whole."""
        path = newest_checkpoint(self.folder, say=lambda _: None) / file
        path.write_bytes(path.read_bytes()[:-1])

    @invariant()
    def the_state_is_that_of_the_undisturbed_run(self) -> None:
        assert equal(STRAIGHT[self.state.step], self.state)

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=max(6, settings.default.max_examples // 10), stateful_step_count=15, deadline=None
)
