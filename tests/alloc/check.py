#!/usr/bin/env python3
"""check.py IN.csv OUT.csv CAPACITY: OUT has IN's columns and `offset`, and no two buffers that live at one time share a byte."""
import csv
import sys

before, after, capacity = sys.argv[1], sys.argv[2], int(sys.argv[3])
a, b = list(csv.reader(open(before))), list(csv.reader(open(after)))
a = [row for row in a if row]
assert b[0] == a[0] + ["offset"], "columns: %r" % b[0]
assert [row[:-1] for row in b[1:]] == a[1:], "the input's lines are not repeated"
column = {name: i for i, name in enumerate(b[0])}
alive, events = [], []
for row in b[1:]:
    lower, upper, size, offset = (int(row[column[k]]) for k in ("lower", "upper", "size", "offset"))
    alignment = int(row[column["alignment"]]) if "alignment" in column else 1
    assert offset >= 0 and offset % alignment == 0 and offset + size <= capacity, "outside or not aligned: %r" % row
    if size:
        events += [(lower, 1, offset, offset + size, row), (upper, 0, offset, offset + size, row)]
for time, starts, first, end, row in sorted(events):
    if not starts:
        alive.remove((first, end))
        continue
    for x, y in alive:
        assert y <= first or end <= x, "shares bytes with another: %r" % row
    alive.append((first, end))
