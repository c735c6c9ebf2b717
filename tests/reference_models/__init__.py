"""Other libraries' models, tiny, whose logits are stored in `tests/references`: their cases, family by family."""
