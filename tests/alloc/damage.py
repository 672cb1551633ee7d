#!/usr/bin/env python3
"""damage.py TEGULA WORK: `tegula alloc` on files with random damage ends with a status of its own, and what it places is right."""
import os
import random
import subprocess
import sys

tegula, work = sys.argv[1:3]
os.makedirs(work, exist_ok=True)
check = os.path.join(os.path.dirname(os.path.abspath(__file__)), "check.py")
source, out = os.path.join(work, "in.csv"), os.path.join(work, "out.csv")
rng, seen = random.Random(1), {}
for n in range(150):
    rows = ["id,lower,upper,size,alignment"] + ["%d,%d,%d,%d,%d" % (i, a, a + rng.randint(1, 9), rng.randint(0, 50), 1 << rng.randint(0, 3)) for i in range(12) for a in [rng.randint(0, 20)]]
    data = bytearray("\n".join(rows).encode())
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(data))
        how = rng.randrange(4)
        if how == 0:
            data[at] = rng.randrange(256)
        elif how == 1:
            del data[at : at + rng.randint(1, 20)]
        elif how == 2:
            data[at:at] = rng.choice([b",", b"\n", b"-", b"9999999999999999999", b"4611686018427387903", b"\0", b"\r\n", b"offset", b"lower"])
        else:
            data = data[:at] + data[at:] * 2
    open(source, "wb").write(data)
    done = subprocess.run([tegula, "alloc", source, "--capacity", "300", "--nodes", "20000", "-o", out], capture_output=True, timeout=60)
    seen[done.returncode] = seen.get(done.returncode, 0) + 1
    assert done.returncode in (0, 4, 5), (done.returncode, done.stderr, bytes(data))
    assert done.returncode == 0 or b"error:" in done.stderr
    if done.returncode == 0 and b"offset" not in data and b"\r" not in data and b'"' not in data and b" " not in data and b"\t" not in data:
        subprocess.run([sys.executable, check, source, out, "300"], check=True)
assert seen.get(0) and seen.get(4), seen
print("statuses: %s" % seen)
