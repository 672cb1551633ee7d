#!/usr/bin/env python3
"""Makes the corpus of hostile and damaged inputs, and a manifest: file, accepted exit statuses, text that the message must contain.

usage: make.py FOLDER [ONNX_OPS_DEF]

With the importer table, a one-node model for every row with a reason is made too: it must be refused with that reason."""
import os
import re
import struct
import sys

from onnx_writer import *

OUT = sys.argv[1]
MANIFEST = []
OK, UNSUPPORTED, MALFORMED, LIMIT, IO, USAGE = "0", "3", "4", "5", "6", "2"


def put(name, data, expect, text="", ending=".onnx"):
    with open(os.path.join(OUT, name + ending), "wb") as f:
        f.write(data)
    MANIFEST.append((name + ending, expect, text))


def simple(nodes, inputs=None, outputs=None, inits=(), **kw):
    return model(graph(nodes, [value("x", FLOAT, [2, 3])] if inputs is None else inputs, [value("y", FLOAT, [2, 3])] if outputs is None else outputs, inits), **kw)


RELU = node("Relu", ["x"], ["y"])
GOOD = simple([RELU])


def reshape_by(init, **kw):
    return simple([node("Reshape", ["x", "s"], ["y"])], outputs=[value("y")], inits=[init], **kw)


def add_weight(init):
    return simple([node("Add", ["x", "w"], ["y"])], inits=[init])


def damaged():
    put("good", GOOD, OK)
    put("empty", b"", MALFORMED, "no graph")
    weights = simple([node("MatMul", ["x", "w"], ["y"])], outputs=[value("y")], inits=[floats("w", [3, 40])])
    put("good-weights", weights, OK)
    for i in range(1, len(GOOD), 6):
        put("cut-%03d" % i, GOOD[:i], MALFORMED)
    for i in range(60, len(weights), 47):
        put("cut-weights-%03d" % i, weights[:i], MALFORMED)
    for i in range(3, len(GOOD), 9):
        put("flip-%03d" % i, GOOD[:i] + bytes([GOOD[i] ^ 0xFF]) + GOOD[i + 1 :], "0 2 3 4 5")
    put("text", b"this is no model\n" * 20, MALFORMED)
    put("zeros", bytes(4096), MALFORMED)
    put("ones", b"\xff" * 4096, MALFORMED)
    put("length-huge", varint(7 << 3 | 2) + varint(1 << 40) + b"x", MALFORMED)
    put("length-64-bit", varint(7 << 3 | 2) + b"\xff" * 9 + b"\x01", MALFORMED)
    put("varint-endless", b"\x08" + b"\x80" * 4000, MALFORMED)
    put("field-0", b"\x00\x00", MALFORMED, "field number")
    put("group-wire-type", b"\x0b\x0c", MALFORMED, "wire type")
    put("wrong-wire-type", blob(1, "8") + blob(7, b""), MALFORMED, "wire type")
    put("string-with-nul", simple([blob(1, "x") + blob(2, "y") + blob(4, "Re\0lu")]), MALFORMED, "NUL")
    put("packed-odd", add_weight(num(1, 6) + num(2, FLOAT) + blob(8, "w") + blob(4, b"abc")), MALFORMED, "multiple")


def bombs():
    nested = b""
    for _ in range(10000):
        nested = blob(6, nested)
    deep = blob(1, "a")
    for _ in range(5000):
        deep = blob(5, blob(6, blob(1, deep)))
    put("nest-graphs", model(blob(1, deep)), LIMIT, "nested")
    put("nest-unknown", nested, MALFORMED)
    types = num(1, 1)
    for _ in range(20000):
        types = blob(4, blob(1, types))
    put("nest-types", model(graph([RELU], [blob(1, "x") + blob(2, types)], [value("y")])), LIMIT, "nested")
    put("nodes-empty-2mb", blob(7, b"\x0a\x00" * 1000000), LIMIT, "MiB")
    put("attributes-empty", blob(7, blob(1, b"\x2a\x00" * 1000000)), LIMIT, "MiB")
    put("inputs-empty", blob(7, b"\x5a\x00" * 900000), LIMIT, "MiB")
    put("strings-empty", blob(7, blob(1, b"\x0a\x00" * 6000000)), LIMIT, "MiB")
    put("singular-repeated", b"\x3a\x00" * 160000, MALFORMED, "twice")
    put("singular-repeated-big", blob(7, blob(2, "g")) * 2, MALFORMED, "twice")
    put("ints-many", model(graph([node("Relu", ["x"], ["y"], [blob(1, "a") + blob(8, b"\x01" * 20000000)])], [value("x")], [value("y")])), LIMIT)
    many = [node("Relu", ["x%d" % i], ["x%d" % (i + 1)]) for i in range(20000)]
    put("nodes-20000", simple(many, inputs=[value("x0", FLOAT, [2])], outputs=[value("x20000", FLOAT, [2])]), OK)
    put("nodes-20000-reversed", simple(many[::-1], inputs=[value("x0", FLOAT, [2])], outputs=[value("x20000", FLOAT, [2])]), OK)
    # a function that calls two of the next level, 40 levels deep: 2^40 nodes if expanded
    fs = [function("f%d" % i, "bomb", ["a"], ["c"], [node("f%d" % (i + 1), ["a"], ["b"], domain="bomb"), node("f%d" % (i + 1), ["b"], ["c"], domain="bomb")], domains=[("bomb", 1)]) for i in range(40)]
    fs.append(function("f40", "bomb", ["a"], ["c"], [node("Relu", ["a"], ["c"])], domains=[("bomb", 1)]))
    put("functions-doubling", simple([node("f0", ["x"], ["y"], domain="bomb")], domains=[("bomb", 1)], functions=fs), "5 71")
    me = function("f", "bomb", ["a"], ["b"], [node("f", ["a"], ["b"], domain="bomb")], domains=[("bomb", 1)])
    put("function-calls-itself", simple([node("f", ["x"], ["y"], domain="bomb")], domains=[("bomb", 1)], functions=[me]), LIMIT, "nested")
    body = graph([node("Identity", ["c"], ["c2"]), node("Relu", ["v"], ["v2"])], [value("i", INT64), value("c", BOOL), value("v")], [value("c2", BOOL), value("v2")])
    put("loop-huge", simple([node("Loop", ["m", "", "x"], ["y"], [attr_g("body", body)])], inits=[int64s("m", [1 << 40], [])]), UNSUPPORTED, "iterations")
    put("loop-endless", simple([node("Loop", ["", "", "x"], ["y"], [attr_g("body", body)])]), UNSUPPORTED, "iterations")
    # shape arithmetic that grows: each step doubles a constant
    grow = [node("Concat", ["s%d" % i, "s%d" % i], ["s%d" % (i + 1)], [attr_i("axis", 0)]) for i in range(60)]
    put("fold-doubling", simple(grow + [node("Reshape", ["x", "s60"], ["y"])], outputs=[value("y")], inits=[int64s("s0", [1, 2])]), "3 4 5")


def tensors():
    for name, dims in [("overflow", [1 << 32, 1 << 32]), ("negative", [-3, 2]), ("huge", [1 << 62]), ("min", [-(1 << 63), 1])]:
        put("dims-" + name, add_weight(tensor("w", FLOAT, dims, bytes(24))), MALFORMED)
    put("dims-rank-17", add_weight(tensor("w", FLOAT, [1] * 17, bytes(4))), UNSUPPORTED, "rank")
    put("dims-rank-100000", add_weight(tensor("w", FLOAT, [1] * 100000, bytes(4))), UNSUPPORTED, "rank")
    put("raw-short", add_weight(tensor("w", FLOAT, [2, 3], bytes(20))), MALFORMED, "bytes of data")
    put("raw-long", add_weight(tensor("w", FLOAT, [2, 3], bytes(28))), MALFORMED, "bytes of data")
    put("raw-missing", add_weight(tensor("w", FLOAT, [2, 3])), MALFORMED, "no data")
    put("raw-large-short", add_weight(tensor("w", FLOAT, [1000, 1000], bytes(100000))), MALFORMED, "bytes of data")
    put("data-twice", add_weight(tensor("w", FLOAT, [2, 3], bytes(24), blob(4, bytes(24)))), MALFORMED, "fields")
    put("data-twice-large", add_weight(tensor("w", FLOAT, [40], bytes(160), blob(4, bytes(160)))), MALFORMED, "twice")
    put("data-wrong-list", add_weight(tensor("w", FLOAT, [2, 3], None, blob(7, b"\x01" * 6))), MALFORMED, "field")
    put("data-too-few-entries", add_weight(tensor("w", INT64, [6], None, blob(7, b"\x01" * 5))), MALFORMED)
    put("data-packed-cut", reshape_by(tensor("s", INT64, [100], None, blob(7, b"\x80" * 99 + b"\x80"))), MALFORMED)
    put("data-claims-terabyte", add_weight(tensor("w", INT64, [1 << 40], None, blob(7, b"\x01" * 100))), MALFORMED)
    put("type-unknown", add_weight(tensor("w", 99, [2, 3], bytes(24))), MALFORMED, "data type")
    put("type-negative", add_weight(tensor("w", -5, [2, 3], bytes(24))), MALFORMED)
    put("type-missing", add_weight(num(1, 2) + num(1, 3) + blob(8, "w") + blob(9, bytes(24))), MALFORMED)
    put("type-string", add_weight(tensor("w", STRING, [1], None, blob(6, "hello"))), UNSUPPORTED, "str")
    put("type-complex", add_weight(tensor("w", 14, [1], bytes(8))), UNSUPPORTED)
    put("segmented", add_weight(tensor("w", FLOAT, [1], bytes(4), blob(3, num(1, 0) + num(2, 1)))), UNSUPPORTED, "segments")


def sparse(values, indices, dims):
    return model(graph([node("Add", ["x", "w"], ["y"])], [value("x", FLOAT, [2, 3])], [value("y")], sparse=[blob(1, values) + blob(2, indices) + b"".join(num(3, d) for d in dims)]))


def sparse_tensors():
    put("sparse-good", sparse(floats("w", [2]), int64s("i", [0, 5]), [2, 3]), OK)
    put("sparse-outside", sparse(floats("w", [2]), int64s("i", [0, 6]), [2, 3]), MALFORMED, "outside")
    put("sparse-negative", sparse(floats("w", [2]), int64s("i", [0, -1]), [2, 3]), MALFORMED, "outside")
    put("sparse-count", sparse(floats("w", [2]), int64s("i", [0]), [2, 3]), MALFORMED, "belong")
    put("sparse-huge", sparse(floats("w", [1]), int64s("i", [0]), [1 << 20, 1 << 20]), LIMIT, "dense")
    put("sparse-empty", model(graph([RELU], [value("x", FLOAT, [2])], [value("y")], sparse=[b""])), "0 4")


def external_data():
    with open(os.path.join(OUT, "outside.bin"), "wb") as f:
        f.write(bytes(24))
    cases = {
        "absolute": ({"location": "/etc/passwd", "offset": 0, "length": 24}, "4 6"),
        "parent": ({"location": "../outside.bin"}, "4 6"),
        "parent-inside": ({"location": "sub/../../outside.bin"}, "4 6"),
        "missing": ({"location": "no-such-file.bin"}, IO),
        "empty-location": ({"location": ""}, MALFORMED),
        "no-location": ({"offset": 0}, MALFORMED),
        "folder": ({"location": "."}, "4 6"),
        "link": ({"location": "link.bin"}, IO),
        "device-link": ({"location": "null.bin"}, IO),
        "offset-beyond": ({"location": "outside.bin", "offset": 1 << 50, "length": 24}, MALFORMED),
        "offset-overflow": ({"location": "outside.bin", "offset": (1 << 64) - 8, "length": 24}, MALFORMED),
        "offset-negative": ({"location": "outside.bin", "offset": -1}, MALFORMED),
        "offset-text": ({"location": "outside.bin", "offset": "1x"}, MALFORMED),
        "length-wrong": ({"location": "outside.bin", "length": 23}, MALFORMED),
        "length-huge": ({"location": "outside.bin", "length": 1 << 63}, MALFORMED),
        "good": ({"location": "outside.bin", "offset": 0, "length": 24}, OK),
    }
    for name, target in [("link.bin", "outside.bin"), ("null.bin", "/dev/null")]:
        path = os.path.join(OUT, name)
        if os.path.lexists(path):
            os.remove(path)
        os.symlink(target, path)
    for name, (entries, expect) in cases.items():
        put("external-" + name, add_weight(tensor("w", FLOAT, [2, 3], None, external(**entries))), expect)
    put("external-and-raw", add_weight(tensor("w", FLOAT, [2, 3], bytes(24), external(location="outside.bin"))), MALFORMED)
    put("external-nul", add_weight(tensor("w", FLOAT, [2, 3], None, external(location="outside.bin\0/etc/passwd"))), MALFORMED, "NUL")


def graphs():
    put("cycle-one", simple([node("Add", ["x", "y"], ["y"])]), MALFORMED, "cycle")
    put("cycle-two", simple([node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["y"])]), MALFORMED, "cycle")
    put("name-twice", simple([RELU, node("Neg", ["x"], ["y"])]), MALFORMED, "twice")
    put("name-of-input", simple([node("Relu", ["x"], ["x"]), RELU]), MALFORMED, "twice")
    put("initializer-twice", simple([node("Add", ["x", "w"], ["y"])], inits=[floats("w", [2, 3]), floats("w", [2, 3])]), MALFORMED, "twice")
    put("input-twice", simple([RELU], inputs=[value("x", FLOAT, [2]), value("x", FLOAT, [2])]), MALFORMED, "twice")
    put("operand-missing", simple([node("Add", ["x", "nowhere"], ["y"])]), MALFORMED, "nowhere")
    put("output-missing", simple([RELU], outputs=[value("z")]), MALFORMED, "z")
    put("no-outputs", simple([RELU], outputs=[]), MALFORMED, "no outputs")
    put("no-nodes", model(graph([], [value("x", FLOAT, [2])], [value("x", FLOAT, [2])])), OK)
    put("no-opset", num(1, 8) + blob(7, graph([RELU], [value("x", FLOAT, [2])], [value("y")])), MALFORMED, "opset")
    put("opset-zero", simple([RELU], opset=0), MALFORMED, "opset")
    put("opset-negative", simple([RELU], opset=-1), MALFORMED, "opset")
    put("opset-future", simple([RELU], opset=999), UNSUPPORTED, "opset")
    put("domain-not-imported", simple([node("Relu", ["x"], ["y"], domain="acme")]), MALFORMED, "acme")
    put("operator-unknown", simple([node("Frobnicate", ["x"], ["y"])]), UNSUPPORTED, "unknown operator")
    put("operator-empty", simple([node("", ["x"], ["y"])]), MALFORMED, "op_type")
    put("input-no-type", simple([RELU], inputs=[blob(1, "x")]), MALFORMED, "no type")
    put("input-type-unknown", simple([RELU], inputs=[value("x", 77, [2])]), MALFORMED, "element type")
    put("input-sequence", simple([RELU], inputs=[blob(1, "x") + blob(2, blob(4, blob(1, blob(1, num(1, 1)))))]), UNSUPPORTED, "sequence")
    put("input-huge", simple([RELU], inputs=[value("x", FLOAT, [1 << 40, 1 << 40])]), MALFORMED, "too large")
    put("input-symbolic", simple([RELU], inputs=[value("x", FLOAT, ["batch", 3])]), USAGE, "--dim batch=N")
    put("input-unnamed", simple([RELU], inputs=[value("x", FLOAT, ["", -1])]), USAGE, "--dim x:0=N")
    put("output-wrong-type", simple([RELU], outputs=[value("y", INT64, [2, 3])]), MALFORMED, "declared")
    put("output-wrong-shape", simple([RELU], outputs=[value("y", FLOAT, [7, 7, 7])]), OK, "declared")
    put("function-twice", simple([RELU], domains=[("d", 1)], functions=[function("f", "d", ["a"], ["b"], [node("Relu", ["a"], ["b"])])] * 2), MALFORMED, "twice")
    put("function-arity", simple([node("f", ["x", "x"], ["y"], domain="d")], domains=[("d", 1)], functions=[function("f", "d", ["a"], ["b"], [node("Relu", ["a"], ["b"])])]), MALFORMED)
    for name, text in [("escape", "\x1b[31mred\x1b[0m"), ("newline", "a\nb"), ("quote", "a'b\"c\\d"), ("long", "n" * 100000), ("format", "%s%n%s%n")]:
        put("hostile-name-" + name, simple([node("Add", ["x", text], ["y"], name=text)]), MALFORMED)
    put("hostile-name-utf8", model(graph([blob(1, "x") + blob(1, b"\xff\xfe\xc0") + blob(2, "y") + blob(4, "Add")], [value("x", FLOAT, [2])], [value("y")])), MALFORMED)


def nodes():
    x, y = ["x"], ["y"]
    bad = {
        "conv-rank": node("Conv", ["x", "x"], y),
        "conv-no-weight": node("Conv", ["x"], y),
        "axis-outside": node("Softmax", x, y, [attr_i("axis", 5)]),
        "axis-min": node("Softmax", x, y, [attr_i("axis", -(1 << 63))]),
        "attribute-type": node("Softmax", x, y, [attr_s("axis", "1")]),
        "concat-none": node("Concat", [], y, [attr_i("axis", 0)]),
        "concat-no-axis": node("Concat", ["x", "x"], y),
        "transpose-perm": node("Transpose", x, y, [attr_ints("perm", [0, 0])]),
        "transpose-long": node("Transpose", x, y, [attr_ints("perm", list(range(1000)))]),
        "add-shapes": node("Add", ["x", "w"], y),
        "matmul-shapes": node("MatMul", ["x", "x"], y),
        "relu-no-operand": node("Relu", [], y),
        "relu-left-out": node("Relu", [""], y),
        "cast-unknown": node("Cast", x, y, [attr_i("to", 12345)]),
        "gather-outside": node("Gather", ["x", "big"], y),
        "reshape-two-open": node("Reshape", ["x", "open"], y),
        "reshape-overflow": node("Reshape", ["x", "over"], y),
        "expand-negative": node("Expand", ["x", "open"], y),
        "tile-huge": node("Tile", ["x", "over"], y),
        "pad-huge": node("Pad", ["x", "pads"], y),
        "slice-step-0": node("Slice", ["x", "zero", "one", "zero", "zero"], y),
        "split-sizes": node("Split", ["x", "over"], ["y", "z"]),
        "einsum-garbage": node("Einsum", x, y, [attr_s("equation", "!!")]),
        "einsum-labels": node("Einsum", x, y, [attr_s("equation", "ijkl->i")]),
        "onehot-depth": node("OneHot", ["x", "big", "zero"], y),
        "squeeze-extent": node("Squeeze", ["x", "zero"], y),
        "range-endless": node("Range", ["fzero", "fbig", "fzero"], y),
        "constant-empty": node("Constant", [], y),
        "if-no-branch": node("If", ["x"], y),
        "loop-no-body": node("Loop", ["", "", "x"], y),
        "gru-shapes": node("GRU", ["x", "x", "x"], y),
        "layernorm-axis": node("LayerNormalization", ["x", "x"], y, [attr_i("axis", 9)]),
        "pool-no-kernel": node("MaxPool", x, y),
        "clip-bound": node("Clip", ["x", "w"], y),
        "where-type": node("Where", ["x", "x", "x"], y),
        "dropout-attribute": node("BitShift", ["x", "x"], y, [attr_s("direction", "UP")]),
    }
    inits = [floats("w", [5]), int64s("big", [1 << 40]), int64s("open", [-1, -1]), int64s("over", [1 << 62, 1 << 62]), int64s("pads", [1 << 62] * 4), int64s("zero", [0]),
             int64s("one", [1]), floats("fzero", [], [0.0]), floats("fbig", [], [1e30])]
    for name, n in bad.items():
        put("node-" + name, simple([n], outputs=[value("y")], inits=inits), "3 4 5")
    reduces = node("ScatterND", ["x", "at", "w"], ["y"], [attr_s("reduction", "invalid")])
    put("scatter-reduction", simple([reduces], outputs=[value("y")], inits=[int64s("at", [0], [1, 1]), floats("w", [1, 3])], opset=18), UNSUPPORTED, "the operator knows")
    put("shape-from-input", simple([node("Reshape", ["x", "s"], ["y"])], inputs=[value("x", FLOAT, [2, 3]), value("s", INT64, [1])], outputs=[value("y")]), UNSUPPORTED, "bind it")
    put("shape-from-float", simple([node("Cast", ["x"], ["s"], [attr_i("to", INT64)]), node("Reshape", ["x", "s"], ["y"])], inputs=[value("x", FLOAT, [1])], outputs=[value("y")]), UNSUPPORTED, "not an integer")
    put("memory-huge", simple([node("ConstantOfShape", ["s"], ["y"])], outputs=[value("y")], inits=[int64s("s", [1 << 30, 1 << 20])]), "0 5")
    put("resize-huge", simple([node("Resize", ["x", "", "s"], ["y"], [attr_s("mode", "cubic")])], inputs=[value("x", FLOAT, [1, 1, 4, 4])], outputs=[value("y")], inits=[floats("s", [4], [1, 1, 1e9, 1e9])]), "3 4 5")
    put("avgpool-huge", simple([node("AveragePool", ["x"], ["y"], [attr_ints("kernel_shape", [1 << 29, 1]), attr_ints("pads", [1 << 29, 0, 1 << 29, 0])])], inputs=[value("x", FLOAT, [1, 1, 4, 4])], outputs=[value("y")]), "3 4 5")


def npy(descr="'<f4'", shape="(2, 3)", order="False", data=bytes(24), version=1, head=None):
    h = (head if head is not None else "{'descr': %s, 'fortran_order': %s, 'shape': %s, }" % (descr, order, shape)).encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(h)) + h + data


def tensor_files():
    put("npy-good", npy(), OK, ending=".npy")
    put("npy-version-2", npy(version=2), OK, ending=".npy")
    put("npy-fortran", npy(order="True"), OK, ending=".npy")
    cases = {
        "empty": b"", "magic": b"\x93NUMPX" + bytes(100), "version-9": npy(version=9), "short": npy(data=bytes(23)), "long": npy(data=bytes(25)),
        "shape-negative": npy(shape="(-2, 3)"), "shape-overflow": npy(shape="(4294967296, 4294967296, 16)"), "shape-rank": npy(shape="(" + "1," * 40 + ")"),
        "shape-number": npy(shape="6"), "head-code": npy(head="__import__('os').system('true')"), "head-open": npy(head="{'descr': '<f4'"),
        "head-twice": npy(head="{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (6,)}"), "head-length": b"\x93NUMPY\x01\x00\xff\xff{}",
        "head-nested": npy(head="{" * 5000), "order": npy(order="Maybe"),
    }
    for name, data in cases.items():
        put("npy-" + name, data, MALFORMED, ending=".npy")
    put("npy-object", npy(descr="'|O'"), UNSUPPORTED, ending=".npy")
    put("npy-big-endian", npy(descr="'>f4'"), UNSUPPORTED, ending=".npy")
    put("npz-garbage", b"PK\x03\x04" + bytes(200), MALFORMED, ending=".npz")
    put("npz-not", b"hello" * 50, MALFORMED, ending=".npz")
    put("pb-good", floats("w", [2, 3]), OK, ending=".pb")
    put("pb-cut", floats("w", [2, 3])[:-1], MALFORMED, ending=".pb")
    put("pb-external", tensor("w", FLOAT, [2, 3], None, external(location="outside.bin")), MALFORMED, ending=".pb")
    put("pb-overflow", tensor("w", FLOAT, [1 << 40, 1 << 40], bytes(24)), MALFORMED, ending=".pb")


def refused_rows(path):
    row = re.compile(r'ONNX_NOT\((\w+), "([^"]*)", (\d+), (\d+), "([^"]*)"\)')
    for name, domain, first, _, reason in row.findall(open(path).read()):
        opset = int(first) if not domain else 17
        n = node(name, ["x", "x", "x"], ["y"], domain=domain)
        put("refused-%s-%s" % (domain or "onnx", name), simple([n], outputs=[value("y")], opset=opset, domains=[(domain, int(first))] if domain else ()), UNSUPPORTED, reason)


def main():
    os.makedirs(OUT, exist_ok=True)
    for make in (damaged, bombs, tensors, sparse_tensors, external_data, graphs, nodes, tensor_files):
        make()
    if len(sys.argv) > 2:
        refused_rows(sys.argv[2])
    with open(os.path.join(OUT, "MANIFEST"), "w") as f:
        for entry in MANIFEST:
            f.write("\t".join(entry) + "\n")


main()
