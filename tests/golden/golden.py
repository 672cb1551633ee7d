#!/usr/bin/env python3
"""golden.py TEGULA FILE WORK: runs the RUN lines of a golden file and compares output, errors and exit status with the lines behind each.

Format: docs/adding.md. TG_UPDATE=1 writes the expected lines instead."""
import difflib
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "malformed")]
sys.dont_write_bytecode = True
LINE = re.compile(r"\s*(//|#) (RUN|CHECK|ERROR|EXIT):(.*)$")


def execute(tegula, path, work, command):
    env = dict(os.environ, PATH=os.path.dirname(tegula) + os.pathsep + os.environ["PATH"], LC_ALL="C", NO_COLOR="1")
    command = command.replace("%s", os.path.basename(path))
    r = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=work, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    text = lambda b: b.decode("utf-8", "backslashreplace").splitlines()
    return text(r.stdout), text(r.stderr), r.returncode


def expected(leader, result, old_exits):
    out, err, status = result
    note = [e for e in old_exits if e.split()[:1] == [str(status)]]
    lines = ["%s CHECK: %s" % (leader, x) for x in out] + ["%s ERROR: %s" % (leader, x) for x in err]
    if status:
        lines.append("%s EXIT: %s" % (leader, note[0].strip() if note else status))
    return [x.rstrip() for x in lines]


def main():
    tegula, path, work = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), os.path.abspath(sys.argv[3])
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    source = open(path, encoding="utf-8").read()
    shutil.copy(path, work)
    shutil.copy(os.path.join(HERE, "keys.py"), work)
    import models

    models.write(work, source)
    have, want, wanted, exits = [], [], [], []
    lines = source.splitlines()
    i = n_runs = 0
    while i < len(lines):
        m = LINE.match(lines[i])
        have.append(lines[i])
        want.append(lines[i])
        i += 1
        if not m or m.group(2) != "RUN":
            continue
        n_runs += 1
        wanted, exits = [], []
        while i < len(lines) and LINE.match(lines[i]) and LINE.match(lines[i]).group(2) != "RUN":
            wanted.append(lines[i].rstrip())
            if LINE.match(lines[i]).group(2) == "EXIT":
                exits.append(LINE.match(lines[i]).group(3).strip())
            i += 1
        want += wanted
        have += expected(m.group(1), execute(tegula, path, work, m.group(3).strip()), exits)
    if not n_runs:
        sys.exit("%s has no RUN line" % path)
    if have == want:
        return
    if os.environ.get("TG_UPDATE"):
        with open(path, "w", encoding="utf-8") as f:
            f.write("\n".join(have) + "\n")
        return
    print("\n".join(difflib.unified_diff(want, have, "expected", "found", lineterm="")))
    sys.exit(1)


main()
