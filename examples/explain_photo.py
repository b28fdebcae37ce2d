"""Show each step of a detector on one photograph, as a page and as numbers.

python examples/explain_photo.py photo.jpg [page.html]
"""

import sys

import gazehound


def main(photo: str, page: str = "steps.html") -> list[str]:
    explanation = gazehound.load("viola-jones-face").explain(photo, out=page)
    survivors = explanation.panel("survivors").values["survivors"].sum(axis=0)
    for stage, windows in enumerate(survivors):
        print(f"after {stage:2} stages: {windows:7} windows")
    print(f"{len(explanation.panels)} steps; drawn into {page}")
    return explanation.keys


if __name__ == "__main__":
    main(*sys.argv[1:])
