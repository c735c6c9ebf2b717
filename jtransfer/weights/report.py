"""What became of every tensor and every parameter of a load."""

import dataclasses
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Report:
    """The outcome of `weights.load`.

    Attributes:
      source: where the tensors came from.
      scheme: whose names they have, such as "torchvision".
      digest: "sha256:…" over the tensors that were loaded (names, dtypes, shapes, bytes), whatever file they were in.
        Of a converted checkpoint it is that of the tensors it was made of.
      loaded: (our path, checkpoint names, shape) of each parameter that was filled.
      reinitialised: (our path, reason) of each parameter that was drawn anew.
      ignored: (checkpoint name, reason) of each tensor that fills nothing.
      adapted: (our path, what was done) of each parameter among the loaded that was changed to fit.
      digests: checkpoint name → digest of each tensor that was loaded; empty for a converted checkpoint.
    """

    source: str
    scheme: str
    digest: str
    loaded: Sequence[tuple[str, tuple[str, ...], tuple[int, ...]]]
    reinitialised: Sequence[tuple[str, str]]
    ignored: Sequence[tuple[str, str]]
    digests: Mapping[str, str] = dataclasses.field(default_factory=dict)
    adapted: Sequence[tuple[str, str]] = ()

    def __str__(self) -> str:
        changed = {path: f" adapted: {what}" for path, what in self.adapted}
        loaded = [(path, ", ".join(names), f"{list(size)}{changed.get(path, '')}") for path, names, size in self.loaded]
        new = [(path, "re-initialised", reason) for path, reason in self.reinitialised]
        ignored = [("-", name, f"ignored: {reason}") for name, reason in self.ignored]
        title = f"{self.source} ({self.scheme} names, {self.digest[:19]}…)"
        adapted = f" ({len(changed)} of them adapted)" if changed else ""
        counts = f"{len(loaded)} loaded{adapted}, {len(new)} re-initialised, {len(ignored)} tensors ignored"
        return "\n".join([title, *_table([*loaded, *new, *ignored]), counts])


def _table(rows: list[tuple[str, str, str]]) -> list[str]:
    widths = [max((len(row[k]) for row in rows), default=0) for k in range(2)]
    return [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows]
