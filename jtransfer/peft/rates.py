"""Rates of learning for adapters."""


def lora_plus(ratio: float = 16.0) -> list[tuple[str, float]]:
    """Returns rows for `optim.rates` by which `b` learns faster than all else (LoRA+, arXiv:2402.12354).

    Args:
      ratio: of the rate of `b` to that of `a`.
    """
    return [("adapters/.*/b", ratio), (".*", 1.0)]
