#!/usr/bin/env python3
"""compare.py TEGULA WORK MODEL: `tegula chips compare` says of each chip what `tegula profile` says of it alone; a chip that fails does not hide the others."""
import json
import os
import subprocess
import sys

tegula, work, model = sys.argv[1:4]
os.makedirs(work, exist_ok=True)
out = os.path.join(work, "c.json")
chips = ["t1", "t1-edge", "v4i"]
text = subprocess.run([tegula, "chips", "compare", model, "--chips", ",".join(chips), "--json", out], check=True, capture_output=True, text=True).stdout
both = json.load(open(out))
assert both["schema_version"] == 1 and [c["chip"] for c in both["chips"]] == chips
for c in both["chips"]:
    path = os.path.join(work, c["chip"] + ".json")
    subprocess.run([tegula, "profile", model, "--chip", c["chip"], "--json", path], check=True, capture_output=True)
    one = json.load(open(path))
    assert c["cycles"] == one["counters"]["cycles"] and c["clock_khz"] == one["clock_khz"] and str(c["cycles"]) in text
    assert c["shares"] == one["shares"] and c["energy_pj"] == one["energy_pj"] and c["limit"] == one["limit"]
    assert c["efficiency"] == one["roofline"]["efficiency"] and c["sram_top"] == one["sram"]["top"]
    assert c["dram_bytes"] == one["counters"]["dram_read_bytes"] + one["counters"]["dram_written_bytes"]
bad = subprocess.run([tegula, "chips", "compare", model, "--chips", "t1,t9", "--json", out], capture_output=True, text=True)
both = json.load(open(out))
assert bad.returncode == 2 and "no chip is named t9" in bad.stderr and both["chips"][0]["cycles"] and "t9" in both["chips"][1]["failure"], bad
print("%d chips agree" % len(chips))
