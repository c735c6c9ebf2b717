"""Which parts of an input a prediction rests on, by gradients.

They are of any chain of stages, and of any Linen module that maps an array to logits. An attribution tells what the
output would follow if the input changed a little; it proves no cause.
"""

from jtransfer.attribution.explain import Attribution, explain
from jtransfer.attribution.gradcam import grad_cam
from jtransfer.attribution.gradient import gradient_input
from jtransfer.attribution.spatial import grid, spatial_stage

__all__ = ["Attribution", "explain", "grad_cam", "gradient_input", "grid", "spatial_stage"]
