"""Judge detections of any tool: the numbers, their interval, what goes wrong, and whether a change helped.

python examples/evaluate_another_tool.py val.json results.json [older.json]
"""

import sys

from gazehound.metrics import bootstrap, compare, evaluate_coco, mistakes, read_coco


def main(annotations: str, detections: str, older: str | None = None, draws: int = 200) -> float:
    tables = read_coco(annotations, detections)
    summary = evaluate_coco(tables).summary
    print("  ".join(f"{name} {value:.3f}" for name, value in summary.items() if value is not None))
    interval = bootstrap(tables, draws=draws)
    print(
        f"AP is {interval.value:.3f}; with other images {interval.low:.3f} to {interval.high:.3f}"
    )
    for kind, price in mistakes(tables).cost.items():
        print(f"{kind}: costs {100 * price:.1f} points of AP50")
    if older:
        print(compare(read_coco(annotations, older), tables, draws=draws).verdict)
    return summary["AP"]


if __name__ == "__main__":
    main(*sys.argv[1:])
