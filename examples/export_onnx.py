"""Write a model as ONNX; the file is run, compared with the checkpoint, and used without torch's weights.

python examples/export_onnx.py runs/cells/best.safetensors [model.onnx]      (pip install gazehound[export])
"""

import sys

import numpy as np

import gazehound


def main(checkpoint: str, file: str = "model.onnx") -> float:
    model = gazehound.load(checkpoint)
    proof = model.export(file, nms=True)
    print(
        f"{proof.detections} detections on {proof.images} pictures: boxes within {proof.box:.1e} pixels"
    )
    picture = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    print(f"{len(gazehound.load(file).predict(picture))} objects found by {file}")
    return proof.box


if __name__ == "__main__":
    main(*sys.argv[1:])
