"""Sheets of images taken apart again."""

import numpy as np


def untile(sheet: np.ndarray, size: int) -> np.ndarray:
    """The (N, C, size, size) cells of a sheet (N rows and columns of them, C) by model.images.tile.

    The black cells of the last row are included.
    """
    height, width, C = sheet.shape
    cells = sheet.reshape(height // size, size, width // size, size, C).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(cells).reshape(-1, C, size, size)
