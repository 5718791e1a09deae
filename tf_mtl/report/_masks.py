"""Images with the predicted classes of their pixels drawn over them, beside the labelled ones."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_mtl.report._figure import colour, grid, legend_below, save, show_image


def masks(
    images: Sequence[Any],
    answers: Mapping[str, Any],
    path: str | Path,
    labels: Any = None,
    classes: Sequence[str] = (),
    background: int | None = 0,
) -> Path:
    """Draw the predicted classes of pixels over images, and save a PNG file.

    Each class has a colour. With labels, each image is there twice: with its predicted classes, and with its labelled
    ones. It needs matplotlib (`pip install tf_mtl[recipes]`).

    Args:
        images: The pixels of the model's images, each [H, W, C] from 0 to 255.
        answers: What a `tf_mtl.tasks.Segmentation` answers to them: `classes` [B, H, W].
        path: The file to write.
        labels: The labelled classes [B, H, W]; None to draw none.
        classes: The names of the classes.
        background: The class that has no colour; None if all have one.

    Returns:
        The path of the file.

    Example:

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/masks.png"
    >>> answers = {"classes": np.eye(8, dtype=int)[None]}
    >>> mtl.report.masks(np.zeros((1, 8, 8, 3)), answers, path, classes=["sky", "tree"]).name
    'masks.png'
    """
    maps = {"predicted": np.asarray(answers["classes"])} | ({} if labels is None else {"labelled": np.asarray(labels)})
    figure, panels = grid(len(images) * len(maps), (3.2, 3.0), columns=2 * len(maps))
    names = list(classes) or [str(index) for index in range(_largest(maps.values()) + 1)]
    pairs = [(image, each[row], title) for row, image in enumerate(images) for title, each in maps.items()]
    for (image, each, title), panel in zip(pairs, panels, strict=True):
        show_image(panel, image)
        panel.imshow(_colours(each, len(names), background), extent=(0, each.shape[1], each.shape[0], 0))
        panel.set_title(title, fontsize=9)
    legend_below(figure, {index: name for index, name in enumerate(names) if index != background})
    return save(figure, path)


def _largest(maps: Iterable[np.ndarray]) -> int:
    return max(int(each.max(where=each != 255, initial=0)) for each in maps)  # 255 is a missing label


def _colours(classes: np.ndarray, number: int, background: int | None) -> np.ndarray:
    """The colours [H, W, 4] of classes, which let the image show through."""
    from matplotlib.colors import to_rgba

    table = np.array([to_rgba(colour(index), 0.55) for index in range(number)] + [(0, 0, 0, 0)])
    is_drawn = (classes >= 0) & (classes < number) & (classes != background)
    return table[np.where(is_drawn, classes, number)]
