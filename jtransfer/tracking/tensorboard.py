"""TensorBoard: an event file in the run's folder for each start of the run."""

from collections.abc import Mapping

from etils import epath

from jtransfer.tracking import appending, event_file
from jtransfer.tracking.tracker import Tracked, Tracker


def make(run: Tracked) -> Tracker:
    """Returns the tracker; of later steps than the one that a run goes on from, TensorBoard hides what was there."""
    path = epath.Path(run.folder) / event_file.name(run.step)
    file = event_file.Writer(appending.opened(path), run.step + 1 if run.step else 0)

    def write(step: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            file.scalar(name, value, step)

    return Tracker(write, file.close, is_local=True)
