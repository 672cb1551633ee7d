#!/usr/bin/env python3
"""check.py TEGULA WORK MODEL CHIP [OPTION...]: the report, the trace and the page of `tegula profile` agree with each other and with `tegula run`."""
import json
import os
import re
import subprocess
import sys

tegula, work, model, chip, options = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:]
os.makedirs(work, exist_ok=True)
path = lambda name: os.path.join(work, name)


def run(*args):
    return subprocess.run([tegula, *args], check=True, capture_output=True, text=True).stdout


def near(a, b, what, tolerance=1e-9):
    assert abs(a - b) <= tolerance * max(abs(a), abs(b), 1), "%s: %r and %r" % (what, a, b)


text = run("profile", model, "--chip", chip, "--json", path("p.json"), "--trace", path("p.trace"), "--html", path("p.html"), *options)
run("run", model, "--chip", chip, "--json", path("r.json"), *options)
report, plain = json.load(open(path("p.json"))), json.load(open(path("r.json")))
total = report["counters"]

# The recorder changes nothing.
assert total == plain["counters"], "counters differ from those of tegula run"

# Stages and time add up to the totals.
for key in ("cycles", "bundles", "dram_read_bytes", "dram_written_bytes", "dma_transfers", "stall_dma_wait", "stall_dma_full", "stall_fetch"):
    assert sum(s[key] for s in report["stages"]) == total[key], "stages: " + key
assert sum(s["macs"] for s in report["stages"]) == sum(total["macs"].values())
near(sum(k["energy_pj"] for k in report["kinds"].values()), total["energy_pj"], "energy of kinds", 1e-6)
near(sum(report["energy_pj"].values()), total["energy_pj"], "energy by cause", 1e-6)
for name, node in report["nodes"].items():
    mine = [s for s in report["stages"] if name in s["nodes"]]
    assert [s["id"] for s in mine] == node["stages"] and sum(s["cycles"] for s in mine) == node["cycles"], name
    assert node["alone"] == all(len(s["nodes"]) == 1 for s in mine)
assert set(report["nodes"]) == {n for s in report["stages"] for n in s["nodes"]} and report["nodes"]
assert sum(k["cycles"] for k in report["kinds"].values()) == total["cycles"]
line = report["timeline"]
assert sum(line["issued"]) + sum(sum(line[k]) for k in ("stall_dma_wait", "stall_dma_full", "stall_fetch")) == total["cycles"], "timeline: cycles"
for key in ("dram_read_bytes", "dram_written_bytes", "stall_dma_wait", "stall_dma_full", "stall_fetch"):
    assert sum(line[key]) == total[key], "timeline: " + key
for slot, busy in total["busy"].items():
    assert sum(line["busy"][slot]) == busy, "timeline: busy " + slot
n = len(line["stage"])
assert 0 < n <= 2048 and all(len(v) == n for v in line.values() if isinstance(v, list))
assert (n - 1) * line["bucket_cycles"] < total["cycles"] + total["dma_transfers"] * 10**6
for i, issued in enumerate(line["issued"]):
    stalls = sum(line[k][i] for k in ("stall_dma_wait", "stall_dma_full", "stall_fetch"))
    assert issued + stalls <= line["bucket_cycles"], "a bucket holds more cycles than it is long"
ids = {s["id"] for s in report["stages"]}
assert set(line["stage"]) <= ids | {-1}
for s in report["stages"]:
    assert all(0 <= v <= 1.0000001 for k, v in s["shares"].items() if k not in ("dram", "array", "vector", "cross_lane")), s
roof = report["roofline"]
near(roof["efficiency"], max(roof["array_cycles"], roof["dram_cycles"]) / total["cycles"], "efficiency")

# SRAM: inside the memory, inside the run.
assert report["sram"]["buffers"], "no buffers"
for b in report["sram"]["buffers"]:
    assert 0 <= b["from"] < b["to"] <= total["cycles"] and b["address"] + b["bytes"] <= report["sram"]["top"] <= report["sram"]["bytes"], b

# The trace: well-formed, slices of a track do not overlap, every transfer is there.
trace = json.load(open(path("p.trace")))["traceEvents"]
tracks, names = {}, {}
for e in trace:
    if e["ph"] == "X":
        tracks.setdefault((e["pid"], e["tid"]), []).append((e["ts"], e["ts"] + e["dur"]))
    elif e["ph"] == "M" and e["name"] == "thread_name":
        names[e["pid"], e["tid"]] = e["args"]["name"]
for track, slices in tracks.items():
    assert track in names, "a track without a name"
    slices.sort()
    for (a, b), (c, d) in zip(slices, slices[1:]):
        assert b <= c, "slices of '%s' overlap: %r" % (names[track], (a, b, c, d))
for slot in total["busy"]:
    assert "slot " + slot in names.values()
assert sum(name.startswith("queue ") for name in names.values()) == report["units"]["queues"]
assert sum(e["ph"] == "X" and e["pid"] == 2 for e in trace) == report["transfers_recorded"]
assert report["transfers_recorded"] + report["transfers_lost"] == total["dma_transfers"]

# The page: one file, nothing from outside, the report inside.
page = open(path("p.html"), encoding="utf-8").read()
assert not re.search(r'(src|href)\s*=\s*"|@import|url\(', page), "the page refers to something outside"
assert "@DATA@" not in page
inside = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S).group(1))
assert inside["counters"] == total and len(inside["stages"]) == len(report["stages"])
for part in ("roofline", "timeline", "sram", "stages", "nodes"):
    assert '<div id="%s">' % part in page
assert text.count("\n") > 20
print("%d stages, %d buckets, %d transfers, %d buffers agree" % (len(report["stages"]), n, report["transfers_recorded"], len(report["sram"]["buffers"])))
