#!/usr/bin/env python3
"""includes.py ROOT: no folder includes a header of a folder that cmake/layers.cmake does not let it see, directly or through one that it sees;
libraries of the system appear only where the folder's LIBS name them."""
import os
import re
import sys

ROOT = sys.argv[1]
SYSTEM = {  # header -> library of LIBS that has it
    "yaml.h": "yaml_0_1", "libelf.h": "libelf", "gelf.h": "libelf", "protobuf-c/protobuf-c.h": "libprotobuf_c", "onnx.pb-c.h": "libprotobuf_c",
    "jansson.h": "jansson", "zip.h": "libzip", "zlib.h": "zlib", "png.h": "libpng",
}
# Headers that a folder shows beside FOLDER.h.
ALSO_PUBLIC = {"numerics.h"}  # isa: the arithmetic that the simulator's instructions are made of


def layers():
    sees, libs = {}, {}
    for folder, rest in re.findall(r"^tg_library\((\w+)([^)]*)\)", open(os.path.join(ROOT, "cmake/layers.cmake")).read(), re.M):
        m = re.search(r"USES((?:\s+\w+)*?)\s*(?:LIBS|$)", rest)
        sees[folder] = set(m.group(1).split()) if m else set()
        libs[folder] = set(re.findall(r"PkgConfig::(\w+)", rest))
    for _ in sees:
        for folder in sees:
            for other in list(sees[folder]):
                sees[folder] |= sees[other]
    return sees, libs


def main():
    sees, libs = layers()
    owner = {}
    for folder in sees:
        for base, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in names:
                if name.endswith((".h", ".def")):
                    owner.setdefault(name, set()).add(folder)
    bad = n = 0
    for folder in sorted(sees):
        for base, dirs, names in os.walk(os.path.join(ROOT, folder)):
            dirs[:] = [d for d in dirs if d != "gen"]  # tools of the build
            for name in sorted(names):
                if not name.endswith((".c", ".h")):
                    continue
                path = os.path.relpath(os.path.join(base, name), ROOT)
                for line, text in enumerate(open(os.path.join(ROOT, path), encoding="utf-8"), 1):
                    m = re.match(r'\s*#\s*include\s*([<"])([^>"]+)', text)
                    if not m:
                        continue
                    n += 1
                    header = m.group(2)
                    if header in SYSTEM and SYSTEM[header] not in libs[folder]:
                        print("%s:%d: %s includes %s, its LIBS do not have %s" % (path, line, folder, header, SYSTEM[header]))
                        bad += 1
                    owners = owner.get(os.path.basename(header), set())
                    if m.group(1) == '"' and owners and folder not in owners and not owners & sees[folder]:
                        print("%s:%d: %s includes %s of %s; cmake/layers.cmake lets it see %s" % (path, line, folder, header, "/".join(sorted(owners)), " ".join(sorted(sees[folder])) or "nothing"))
                        bad += 1
                    main_header = os.path.exists(os.path.join(ROOT, folder, header)) or header.startswith("tegula/")
                    private = m.group(1) == '"' and owners and folder not in owners and not main_header
                    if private and header not in ALSO_PUBLIC and header not in [f + ".h" for f in owners] and header.endswith(".h"):
                        print("%s:%d: %s includes %s, which is private to %s" % (path, line, folder, header, "/".join(sorted(owners))))
                        bad += 1
    print("%d includes in %d folders, %d wrong" % (n, len(sees), bad))
    sys.exit(1 if bad or n < 100 else 0)


main()
