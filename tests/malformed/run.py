#!/usr/bin/env python3
"""Runs import_one on every file of the corpus under limits: 256 MiB of address space, 256 KiB of stack, 1 second of processor
time each (a busy machine must not decide the result).

usage: run.py IMPORT_ONE FOLDER [--no-memory-limit]       (sanitizers need more address space)"""
import os
import resource
import subprocess
import sys

PROGRAM, FOLDER = sys.argv[1:3]
LIMITED = "--no-memory-limit" not in sys.argv


def limits():
    resource.setrlimit(resource.RLIMIT_STACK, (256 << 10, 256 << 10))
    if LIMITED:
        resource.setrlimit(resource.RLIMIT_AS, (256 << 20, 256 << 20))


def spent():
    u = resource.getrusage(resource.RUSAGE_CHILDREN)
    return u.ru_utime + u.ru_stime


def main():
    bad, slowest, n = 0, (0, ""), 0
    for line in open(os.path.join(FOLDER, "MANIFEST")):
        name, expect, text = line.rstrip("\n").split("\t")
        start = spent()
        try:
            r = subprocess.run([PROGRAM, os.path.join(FOLDER, name)], stderr=subprocess.PIPE, preexec_fn=limits, timeout=20)
            status, err = r.returncode, r.stderr
        except subprocess.TimeoutExpired:
            status, err = "timeout", b""
        seconds = spent() - start
        slowest = max(slowest, (seconds, name))
        n += 1
        why = None
        if str(status) not in expect.split():
            why = "exit status %s, expected %s" % (status, expect)
        elif text.encode() not in err:
            why = "the message lacks %r" % text
        elif LIMITED and seconds > 1:
            why = "took %.2f s" % seconds
        elif any(b < 32 and b != 10 for b in err):
            why = "control characters in the message"
        if why:
            bad += 1
            print("%s: %s\n    %s" % (name, why, err.decode("utf-8", "replace").strip()[:400]))
    print("%d files, %d wrong; slowest %s %.2f s" % (n, bad, slowest[1], slowest[0]))
    sys.exit(1 if bad else 0)


main()
