#!/usr/bin/env python3
"""browser.py TEGULA WORK MODEL: the page of `tegula profile`, opened in a headless Chromium without network, draws what the report holds."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

tegula, work, model = sys.argv[1:4]
browser = next((b for b in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if b), None)
if not browser:
    print("no Chromium on this machine: skipped (profile.check looks at the page's structure)")
    sys.exit(77)
os.makedirs(work, exist_ok=True)
page, report = os.path.join(work, "p.html"), os.path.join(work, "p.json")
subprocess.run([tegula, "profile", model, "--html", page, "--json", report], check=True, capture_output=True)
flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync".split()
with tempfile.TemporaryDirectory() as profile:
    done = subprocess.run([browser, *flags, "--user-data-dir=" + profile, "--proxy-server=127.0.0.1:9", "--virtual-time-budget=5000", "--dump-dom", "file://" + os.path.abspath(page)],
                          capture_output=True, text=True, timeout=120)
dom = done.stdout
data = json.load(open(report))
assert 'data-ready="yes"' in dom, "the page's script did not reach its end: " + done.stderr[-2000:]
count = lambda what: len(re.findall(r'class="%s"' % what, dom))
for part in ("stages", "nodes"):
    table = dom[dom.index('<tbody id="%s-rows">' % part):]
    assert table[:table.index("</tbody>")].count("<tr>") == len(data[part]), "rows of the table of " + part
assert count("roof") == 1 and count("series") == 4, "lines"
assert count("stage") == sum(s["macs"] > 0 and bool(s["macs_per_byte"]) for s in data["stages"]), "points of the roofline"
assert count("buffer") == len(data["sram"]["buffers"]), "rectangles of the SRAM map"
changes = sum(a != b for a, b in zip(data["timeline"]["stage"], data["timeline"]["stage"][1:]))
assert count("band") == changes + 1, "bands of the timeline"
assert "NaN" not in re.sub(r"<script.*?</script>", "", dom, flags=re.S), "a coordinate is not a number"
assert os.path.basename(model) in re.search(r"<h1[^>]*>(.*?)</h1>", dom).group(1)
print("%s drew %d stages, %d buffers, %d bands" % (os.path.basename(browser), len(data["stages"]), count("buffer"), count("band")))
