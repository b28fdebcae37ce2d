"""Find small objects in a large picture: tile by tile, cut objects joined again.

python examples/large_image.py model.safetensors aerial.tif [tile]
"""

import sys

import gazehound


def main(model: str, photo: str, tile: int = 640) -> tuple[int, int]:
    detector = gazehound.load(model)
    whole = detector.predict(photo, score=0.3)
    tiled = detector.predict(photo, score=0.3, tile=tile, overlap=0.25)
    print(f"whole: {len(whole)} objects; in tiles of {tile} pixels: {len(tiled)}")
    for name, score, box in zip(tiled.names[:5], tiled.scores, tiled.boxes, strict=False):
        print(f"{name} {score:.2f} {box.round(1).tolist()}")
    return len(whole), len(tiled)


if __name__ == "__main__":
    model, photo, *tile = sys.argv[1:]
    main(model, photo, *map(int, tile))
