"""Train a small network on pictures that are drawn on the fly, and see what it learned.

python examples/train_shapes.py [epochs] [folder]      (30 epochs: some minutes on a laptop)
"""

import sys

import gazehound
from gazehound.data.shapes import shapes


def main(epochs: int = 30, out: str = "runs/example", pictures: int = 160, size: int = 128) -> None:
    easy = {
        "size": size,
        "objects": (1, 3),
        "scale": (0.2, 0.5),
        "classes": ("circle", "square", "star"),
    }
    learn = shapes(pictures, seed=0, split="train", **easy)
    unseen = shapes(max(4, pictures // 4), seed=1, split="val", **easy)
    model = gazehound.create(
        "retinanet_r18", learn.classes, backbone="resnet10t", channels=64, depth=2
    )
    model.fit(learn, out=out, epochs=epochs, size=size, batch=8, workers=0, lr=1e-3)
    print(f"AP50 on pictures it never saw: {model.evaluate(unseen).coco().summary['AP50']:.3f}")
    print(f"written: {model.save(f'{out}/shapes.safetensors')}")


if __name__ == "__main__":
    main(*(kind(text) for kind, text in zip((int, str), sys.argv[1:], strict=False)))
