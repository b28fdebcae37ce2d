"""Find faces with the cascade that ships with the package: no download, no torch.

python examples/faces.py photo.jpg [drawn.jpg]
"""

import sys

from PIL import Image

import gazehound
from gazehound.data.images import read_image
from gazehound.reports.drawing import draw_detections


def main(photo: str, drawn: str = "faces.jpg") -> None:
    model = gazehound.load("viola-jones-face")
    found = model.predict(photo)
    for score, box in zip(found.scores, found.boxes, strict=True):
        print(f"face {score:.2f} at {box.round().astype(int).tolist()}")
    Image.fromarray(draw_detections(read_image(photo), found)).save(drawn)
    print(f"{len(found)} faces; drawn into {drawn}")


if __name__ == "__main__":
    main(*sys.argv[1:])
