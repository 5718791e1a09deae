"""Images with the detected boxes, and the labelled ones, drawn over them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_mtl.report._figure import colour, grid, legend_below, save, show_image


def detections(
    images: Sequence[Any],
    answers: Mapping[str, Any],
    path: str | Path,
    labels: Any = None,
    classes: Sequence[str] = (),
    threshold: float = 0.3,
) -> Path:
    """Draw the detections of images, and save a PNG file.

    Detected boxes have solid lines, a colour for each class, and their scores; labelled boxes have dashed lines. It
    needs matplotlib (`pip install tf_mtl[recipes]`).

    Args:
        images: The pixels of the model's images, each [H, W, C] from 0 to 255, as
            `tf_mtl.images.ImagePreprocessor` returns them.
        answers: What a `tf_mtl.tasks.Detection` answers to them: `boxes`, `labels` and `scores`. To draw on the
            original pictures, pass `{**answer, "boxes": answer["original_boxes"]}`.
        path: The file to write.
        labels: The labelled boxes [B, M, 5], "xyxy" with their classes; None to draw none.
        classes: The names of the classes.
        threshold: The smallest score that is drawn.

    Returns:
        The path of the file.
    """
    names = list(classes) or sorted({str(name) for row in answers["labels"] for name in row} - {""})
    figure, panels = grid(len(images), (4.6, 3.6))
    for row, (image, panel) in enumerate(zip(images, panels, strict=True)):
        show_image(panel, image)
        for *box, kind in [] if labels is None else np.asarray(labels[row]).tolist():
            if kind >= 0:
                _draw(panel, box, names.index(names[int(kind)]), linestyle="--", linewidth=0.8)
        shown = zip(*(np.asarray(answers[key][row]).tolist() for key in ("boxes", "labels", "scores")), strict=True)
        for box, name, score in shown:
            if name and score >= threshold:
                _draw(panel, box, names.index(name), linewidth=1.6)
                ground = {"facecolor": colour(names.index(name)), "linewidth": 0, "pad": 0.8}
                panel.text(*box[:2], f"{score:.2f}", color="white", fontsize=7, va="top", bbox=ground)
    legend_below(figure, dict(enumerate(names)))
    return save(figure, path)


def _draw(panel, box, index, **style):
    from matplotlib.patches import Rectangle

    left, top, right, bottom = box
    panel.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour(index), **style))
