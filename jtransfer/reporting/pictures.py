"""Pictures that stand in a page."""

import base64
import io

import numpy as np
from PIL import Image

PICTURE = 160  # pixels of the longer side, at most


def data_uri(image: np.ndarray) -> str:
    """Returns a picture, uint8 [H, W, 1 or 3], as the address of a small PNG that stands in a page."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.thumbnail((PICTURE, PICTURE))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
