"""What evaluators have in common that choose a number on one split and measure it on another."""

from jtransfer.core.errors import InputError
from jtransfer.evaluators.base import Context


def check(context: Context, name: str, split: str, on: str) -> None:
    """Checks that what an evaluator chooses is chosen on another split than what it is measured on.

    Args:
      context: What is known of the run.
      name: The name of the evaluator, for the error.
      split: The split that is measured.
      on: The split that is chosen on.

    Raises:
      InputError: It is the same split, or there is none.
    """
    if on == split:
        raise InputError(
            f"evals: {name!r} chooses on the split {on!r}, and so can't be measured on it; give another on=…"
        )
    if on == "validation" and not context.config.data.validation:
        raise InputError(
            f"evals: {name!r} chooses on the validation split; give data.validation, such as data.train='train[:90%]', "
            "validation='train[90%:]', or another on=…"
        )


def check_kind(context: Context, name: str, *kinds: str) -> str:
    """Returns the kind of labels of the run's task.

    Raises:
      InputError: It is none of the kinds that an evaluator measures.
    """
    kind = next(iter(context.task.label_kinds), "none")
    if kind not in kinds:
        words = {"class": "one class", "classes": "several classes", "number": "a number"}
        wanted = " or ".join(words[known] for known in kinds)
        raise InputError(f"evals: {name!r} needs a task whose labels are {wanted}; this is task={context.task.name!r}")
    return kind
