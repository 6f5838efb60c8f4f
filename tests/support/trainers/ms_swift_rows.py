"""The rows that ms-swift makes of a data file, as JSON lines: `python ms_swift_rows.py FILE OUT` where it is installed.

It is started in the folder of the export, as ``swift sft`` is. Data loading alone: no model is read.
"""

import json
import sys

import swift
from swift.dataset import load_dataset


def main(path: str, out: str) -> None:
    """Load strictly, so that a row that ms-swift cannot take ends it, and write what it has."""
    rows, _ = load_dataset([path], strict=True, num_proc=1, remove_unused_columns=False)
    with open(out, "w") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
    print(f"ms-swift {swift.__version__}: {len(rows)} rows with {', '.join(rows.column_names)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
