"""keys.py REPORT [KEY]: the keys of a report with the types of their values, and the value of KEY."""
import json
import sys


def show(v, name):
    if isinstance(v, dict):
        for k in sorted(v):
            show(v[k], name + "." + k)
    elif isinstance(v, list):
        print(name + "[]" + ("" if v else " empty"))
        if v:
            show(v[0], name + "[0]")
    else:
        print(name, "=" if name in (".exit_status", ".schema_version", ".verb") else ":", v if name in (".exit_status", ".schema_version", ".verb") else type(v).__name__)


report = json.load(open(sys.argv[1]))
show(report, "")
if len(sys.argv) > 2:
    print(json.dumps(report[sys.argv[2]]))
