"""What a language model tells of texts, aligned with a student's tokens where the two split texts otherwise."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jtransfer import data
from jtransfer.objectives import chunks
from jtransfer.runs.stream import Stream
from jtransfer.runs.teachers import Teacher

Run = Any  # build.Run


def aligned(run: Run, teacher: Teacher, name: str) -> Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, Any]]:
    """Returns a function of the numbers [n] of examples, a teacher's labels [n, m] and their log-probabilities [n, m].

    The function gives `chunk`, int32 [n, w], the chunk of each of the student's labels, and `values`, float32 [n, w],
    the teacher's log-probability of each chunk.

    Args:
      run: the run.
      teacher: the teacher.
      name: the stream's name.
    """
    own, theirs = run.streams[name], teacher.stream(name)
    transform: Any = own.transform(run.model, train=False)
    width = next(iter(data.eval_batches(own.sources["train"], transform.of_one_width(), 1)))["label"].shape[1]

    def of_example(index: int, labels: np.ndarray, log_p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        example = own.sources["train"][index]
        mine = transform(example)["label"]
        ends, known = _tokens(own, run.model, example, mine)
        their_ends, their_known = _tokens(theirs, teacher.model, theirs.sources["train"][index], labels)
        chunk, their_chunk = chunks.align(ends, their_ends, known, their_known)
        numbers, values = np.full(width, chunks.NONE, np.int32), np.zeros(width, np.float32)
        numbers[: len(chunk) - 1] = chunk[1:]
        at, token = their_chunk[1:], log_p[: len(their_chunk) - 1].astype(np.float64)
        sums = np.bincount(at[at >= 0], token[at >= 0], minlength=width) if (at >= 0).any() else np.zeros(width)
        values[:] = sums[:width]
        return numbers, values

    def of_batch(index: np.ndarray, labels: np.ndarray, log_p: np.ndarray) -> dict[str, Any]:
        found = [of_example(int(i), y, p) for i, y, p in zip(index, labels, log_p, strict=True)]
        numbers, values = zip(*found, strict=True)
        return {"chunk": np.stack(numbers), "values": np.stack(values)}

    return of_batch


def _tokens(stream: Stream, model: Any, example: Any, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the tokens of an example end, and whether each is predicted; the first, which has no label, is not."""
    ends = stream.modality.ends(example, stream.task, model)
    known = np.zeros(len(ends), bool)
    size = min(len(ends) - 1, len(labels))
    known[1 : size + 1] = labels[:size] >= 0
    return ends, known
