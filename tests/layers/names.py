#!/usr/bin/env python3
"""names.py ROOT: no file of the repository names a place of the machine it was written on, or a host that is not well known to be public."""
import os
import re
import subprocess
import sys

ROOT = sys.argv[1]
# Written in two parts, so that this file does not name them.
PLACES = re.compile(r"(?<![\w.])/(?:%s)(?:/|\b)" % "|".join(a + b for a, b in (("ho", "me"), ("ro", "ot"), ("Us", "ers"), ("wo", "rk"), ("m", "nt"), ("sr", "v"), ("worksp", "ace"))))
HOSTS = re.compile(r"\b[a-z]+://([A-Za-z0-9.-]+)")
KNOWN = {"www.apache.org", "onnx.ai", "github.com", "numpy.org", "doi.org", "www.w3.org", "localhost"}
REGISTRY = re.compile("|".join(a + b for a, b in (("artif", "actory"), ("index-", "url"), ("extra-in", "dex"), ("py", r"pi\."), ("goprox", "y"), ("_authTok", "en"))), re.I)


def files():
    try:
        out = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
        names = [n for n in out.decode().split("\0") if n]
        if names:
            return names
    except (OSError, subprocess.CalledProcessError):
        pass
    found = []
    for base, dirs, names in os.walk(ROOT):
        dirs[:] = [d for d in dirs if d not in (".git", "build")]
        found += [os.path.relpath(os.path.join(base, n), ROOT) for n in names]
    return found


bad = n = 0
for name in sorted(files()):
    path = os.path.join(ROOT, name)
    if not os.path.isfile(path):
        continue
    data = open(path, "rb").read()
    if b"\0" in data[:8192]:
        continue
    n += 1
    for line, text in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        why = PLACES.search(text) or REGISTRY.search(text)
        hosts = [h for h in HOSTS.findall(text) if h not in KNOWN]
        if why or hosts:
            print("%s:%d: names %s" % (name, line, why.group(0) if why else hosts[0]))
            bad += 1
print("%d files, %d wrong lines" % (n, bad))
sys.exit(1 if bad or not n else 0)
