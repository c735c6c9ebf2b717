"""Whether a tokenizer belongs to a model."""

from jtransfer.core.errors import InputError
from jtransfer.modalities.text.tokenizers.tokenizer import Tokenizer


def check(tokenizer: Tokenizer, embedded: int) -> str | None:
    """Checks that a tokenizer fits a model, whose embedding is often padded to a round number.

    Args:
      tokenizer: The tokenizer.
      embedded: The number of ids that the model embeds.

    Returns:
      A warning if the model has more ids than padding explains, or the files contradict each other; otherwise None.

    Raises:
      InputError: The tokenizer has ids that the model lacks.
    """
    size = tokenizer.vocabulary
    if size > embedded:
        raise InputError(
            f"the tokenizer of {tokenizer.path} has {size} tokens, but the model embeds {embedded}: they do not belong "
            "together; give the tokenizer of these weights, or enlarge the model's vocabulary"
        )
    if tokenizer.note:
        return f"{tokenizer.path}: {tokenizer.note}"
    if size == embedded or (embedded % 8 == 0 and embedded - size < 128) or embedded - size < 8:
        return None
    return f"the tokenizer of {tokenizer.path} has {size} tokens, the model embeds {embedded}: is it the right one?"
