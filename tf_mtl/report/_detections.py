"""Images with the detected boxes, and the labelled ones, drawn over them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(classes) or sorted({str(name) for row in answers["labels"] for name in row} - {""})
    width = min(3, len(images))
    height = -(-len(images) // width)
    figure = Figure(figsize=(4.6 * width, 3.6 * height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(height, width, squeeze=False).flat)
    for panel in panels:
        panel.set_axis_off()
    for row, (image, panel) in enumerate(zip(images, panels, strict=False)):
        pixels = np.clip(np.asarray(image), 0, 255).astype("uint8").squeeze()
        edges = 0, pixels.shape[1], pixels.shape[0], 0  # boxes count from the edges of pixels, not from their centres
        panel.imshow(pixels, cmap="gray", extent=edges)
        for *box, kind in [] if labels is None else np.asarray(labels[row]).tolist():
            if kind >= 0:
                _draw(panel, box, names.index(names[int(kind)]), linestyle="--", linewidth=0.8)
        shown = zip(*(np.asarray(answers[key][row]).tolist() for key in ("boxes", "labels", "scores")), strict=True)
        for box, name, score in shown:
            if name and score >= threshold:
                colour = _draw(panel, box, names.index(name), linewidth=1.6)
                panel.text(box[0] + 1, box[1] + 1, f"{score:.2f}", color=colour, fontsize=6, va="top")
    for index, name in enumerate(names):
        figure.text(0.01 + 0.14 * index, 0.0, name, color=f"C{index}", fontsize=10)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    return path


def _draw(panel, box, index, **style):
    from matplotlib.patches import Rectangle

    left, top, right, bottom = box
    panel.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=f"C{index}", **style))
    return f"C{index}"
