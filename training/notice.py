"""Write NOTICE: what the bundled weights were trained on, by source and licence, from the manifest of the training corpus.

python training/notice.py ../shared/data/train/manifest.csv
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from pathlib import Path

NOTICE = Path(__file__).parent.parent / "NOTICE"
TEXT = """unnoise

The code is licensed under the Apache License 2.0. The weights in src/unnoise/bundled, in
src/unnoise/server/recorded and in training were trained by this project and are licensed under
CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/).

They were trained on photographs from these sources, {pictures} in all, each model on all but a few of them, the feature
network on half:

{sources}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, help="columns: source, licence")
    with open(parser.parse_args().manifest, encoding="utf-8") as table:
        counts = Counter((row["source"], row["licence"]) for row in csv.DictReader(table))
    lines = [f"- {source}: {count}, {licence}\n" for (source, licence), count in sorted(counts.items())]
    NOTICE.write_text(TEXT.format(pictures=counts.total(), sources="".join(lines)), encoding="utf-8")


if __name__ == "__main__":
    main()
