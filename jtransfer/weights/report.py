"""What became of every tensor and every parameter of a load."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jtransfer.core.show import one_line, shown
from jtransfer.core.text_table import lay_out


@dataclasses.dataclass(frozen=True)
class Report:
    """The outcome of `weights.load`. As text it is a table with a line for each parameter and each ignored tensor.

    Attributes:
      source: the address that the tensors came from.
      scheme: the naming scheme of the tensors, such as "torchvision".
      digest: "sha256:…" over names, dtypes, shapes and bytes of the tensors that were loaded, whatever file they were
        in. For a converted checkpoint it is the digest of the tensors that it was converted from.
      loaded: (parameter's path, names of tensors, shape in the source) for each parameter that was filled.
      reinitialised: (parameter's path, reason) for each parameter that was drawn anew.
      ignored: (tensor's name, reason) for each tensor that fills nothing.
      digests: the digest of each tensor that was loaded, by its name; empty for a converted checkpoint.
      adapted: (parameter's path, what was done) for each loaded parameter whose array was changed to fit.
      differs: (field, the model's value, the source's value) for each field in which the model is not what its source
        says.
      unsure: the fields that can't be told from the source, in which the model has its own values.
      notes: lines about what was read of several: which file of a folder, which network of a file.
      prefix: what the names of the tensors begin with in the source, before a dot, where they are of one network among
        others; else "".
    """

    source: str
    scheme: str
    digest: str
    loaded: Sequence[tuple[str, tuple[str, ...], tuple[int, ...]]]
    reinitialised: Sequence[tuple[str, str]]
    ignored: Sequence[tuple[str, str]]
    digests: Mapping[str, str] = dataclasses.field(default_factory=dict)
    adapted: Sequence[tuple[str, str]] = ()
    differs: Sequence[tuple[str, Any, Any]] = ()
    unsure: Sequence[str] = ()
    notes: Sequence[str] = ()
    prefix: str = ""

    def __str__(self) -> str:
        changed = {path: f" adapted: {what}" for path, what in self.adapted}
        loaded = [
            (path, ", ".join(map(one_line, names)), f"{list(size)}{changed.get(path, '')}")
            for path, names, size in self.loaded
        ]
        new = [(path, "re-initialised", reason) for path, reason in self.reinitialised]
        ignored = [("-", shown(name), f"ignored: {reason}") for name, reason in self.ignored]
        title = f"{self.source} ({self.scheme} names, {self.digest[:19]}…)"
        adapted = f" ({len(changed)} of them adapted)" if changed else ""
        counts = f"{len(loaded)} loaded{adapted}, {len(new)} re-initialised, {len(ignored)} tensors ignored"
        said = map(one_line, (title, *self.notes)), lay_out([*loaded, *new, *ignored]), map(one_line, self.conflicts)
        return "\n".join([line for lines in said for line in lines] + [counts])

    @property
    def conflicts(self) -> list[str]:
        """The lines of text that say in what the model is not what its source says."""
        return [
            f"! {field}: the model has {ours!r}, its source says {theirs!r:.200}"
            for field, ours, theirs in self.differs
        ]
