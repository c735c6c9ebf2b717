"""Which source? Sources are put in order for a target by scores of selection, and the best are really fine-tuned."""
