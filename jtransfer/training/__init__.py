"""Pure training: state, steps, optimizers, phases; and the checkpoints of a state."""
