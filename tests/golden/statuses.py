#!/usr/bin/env python3
"""statuses.py FOLDER: every exit status that a user can meet occurs in some golden test."""
import os
import re
import sys

seen = {0}
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        if not name.endswith(".py"):
            seen |= {int(x) for x in re.findall(r"^(?://|#) EXIT: (\d+)", open(os.path.join(folder, name), encoding="utf-8").read(), re.M)}
missing = sorted(set(range(8)) - seen)
sys.exit("no golden test ends with status %s" % missing if missing else 0)
