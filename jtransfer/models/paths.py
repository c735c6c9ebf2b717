"""The names in parameter paths that code outside of the models relies on.

A parameter's path joins the names of its modules with "/", without the collection: "layer_0/attention/query/kernel".
The first name is the stage's. Any model may use these names, and gets what depends on them:

    head/…                   the last stage; drawn anew where the classes of a checkpoint are others
    …/positions              position embeddings [1, tokens, width] of a grid of patches, after those of further tokens,
                             where the model has `patch` and `sides`; resized for images of another size
    …/patches/kernel         the embedding of patches, in the first stage; resized for patches of another size
    …/relative_bias          attention biases by relative position [(2·window − 1)², heads]; resized for another window
    …/tokens/embedding       embeddings of a vocabulary [vocab_size, width]; extended for a greater one
    pool/dense/…             the pooler, of use to a head alone; drawn anew with it where a checkpoint has neither
    stage{i}/block{j}/…      blocks of a stage, from 1 and 0; counted to tell depths apart
"""

import re

HEAD = "head"
POOLER = "pool/dense"
POSITIONS = "positions"
PATCHES = "patches"
RELATIVE_BIAS = "relative_bias"
EMBEDDING = "embedding"

_BLOCK = re.compile(r"stage\d+/block\d+")


def in_head(path: str) -> bool:
    """Whether a parameter belongs to the last stage."""
    return path.startswith(f"{HEAD}/")


def stage_of(path: str) -> str:
    """The name of the stage that a parameter belongs to."""
    return path.split("/", 1)[0]


def block_of(path: str) -> str | None:
    """The block that a parameter belongs to, such as "stage1/block0"; None where it belongs to none."""
    found = _BLOCK.match(path)
    return found and found[0]


def block(stage: int, place: int) -> str:
    """The path of a block: of a stage, counted from 1, the block at a place, counted from 0."""
    return f"stage{stage}/block{place}"
