"""Check a data set before anything learns from it: what is in it, and what is wrong with it.

python examples/check_data.py cells/
"""

import sys
from collections import Counter

from gazehound.data import available_splits, open_dataset
from gazehound.data.check import check


def main(path: str) -> bool:
    report = check(path, input_size=416)
    for code, faults in report.by_code().items():
        if faults:
            print(
                f"{code}: {len(faults)}, the first: {faults[0].file} {faults[0].place}: {faults[0].message}"
            )
    if not report.passed:
        return False
    for split in available_splits(path) or (None,):
        data = open_dataset(path, split=split)
        counts = Counter(data.classes.names[label] for label in data.labels.tolist())
        objects = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        print(f"{split or 'all'}: {len(data)} images, {objects}")
    return True


if __name__ == "__main__":
    sys.exit(0 if main(*sys.argv[1:]) else 1)
