"""A stand-in detector whose answer is known: it finds plain rectangles on black, by colour."""

import numpy as np
from scipy import ndimage

from gazehound.records import Classes, Detections

CLASSES = Classes(("red", "green", "blue"))


class Squares:
    """Finds the connected bright areas of each channel, to the pixel, and notes what it is shown.

    The score falls with the height in the picture, so that it is the same in a mirror image.
    """

    classes = CLASSES

    def __init__(self, score=lambda box: 0.9):
        self.shown = []
        self.score = score

    def predict(self, images, *, score=None):
        self.shown += [image.shape[:2] for image in images]
        return [self._one(image) for image in images]

    def _one(self, image):
        boxes, labels = [], []
        for channel in range(3):
            areas, _ = ndimage.label(image[..., channel] > 127)
            for rows, columns in ndimage.find_objects(areas):
                boxes.append([columns.start, rows.start, columns.stop, rows.stop])
                labels.append(channel)
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        scores = np.asarray([self.score(box) for box in boxes], np.float32)
        order = np.argsort(-scores, kind="stable")
        size = (image.shape[0], image.shape[1])
        return Detections(
            boxes[order], scores[order], np.asarray(labels, np.int64)[order], CLASSES, size
        )


def canvas(size, *squares):
    """Return a black image with squares (x1, y1, x2, y2, channel) on it."""
    image = np.zeros((*size, 3), np.uint8)
    for x1, y1, x2, y2, channel in squares:
        image[y1:y2, x1:x2, channel] = 255
    return image


def as_set(found):
    """Return the boxes and classes of a record, whatever their order."""
    return sorted(
        (*np.round(box, 3).tolist(), int(label))
        for box, label in zip(found.boxes, found.labels, strict=True)
    )
