"""Writes ONNX protobuf by hand: just enough for models that no exporter would write. Standard library only."""
import struct

FLOAT, UINT8, INT8, INT32, INT64, STRING, BOOL, FLOAT16, DOUBLE = 1, 2, 3, 6, 7, 8, 9, 10, 11


def varint(v):
    v &= (1 << 64) - 1
    out = bytearray()
    while v >= 0x80:
        out.append(v & 0x7F | 0x80)
        v >>= 7
    out.append(v)
    return bytes(out)


def num(field, v):
    return varint(field << 3) + varint(v)


def blob(field, b):
    b = b.encode() if isinstance(b, str) else b
    return varint(field << 3 | 2) + varint(len(b)) + b


def f32(field, v):
    return varint(field << 3 | 5) + struct.pack("<f", v)


def tensor(name, dtype, dims, raw=None, extra=b""):
    b = b"".join(num(1, d) for d in dims) + num(2, dtype) + blob(8, name)
    return b + (blob(9, raw) if raw is not None else b"") + extra


def floats(name, dims, v=None):
    n = 1
    for d in dims:
        n *= d
    return tensor(name, FLOAT, dims, struct.pack("<%df" % n, *(v or [1.0] * n)))


def int64s(name, v, dims=None):
    return tensor(name, INT64, [len(v)] if dims is None else dims, struct.pack("<%dq" % len(v), *v))


def value(name, dtype=FLOAT, dims=()):
    shape = b"".join(blob(1, blob(2, d) if isinstance(d, str) else num(1, d)) for d in dims)
    return blob(1, name) + blob(2, blob(1, num(1, dtype) + blob(2, shape)))


def attr_i(name, v):
    return blob(1, name) + num(3, v) + num(20, 2)


def attr_f(name, v):
    return blob(1, name) + f32(2, v) + num(20, 1)


def attr_s(name, v):
    return blob(1, name) + blob(4, v) + num(20, 3)


def attr_t(name, t):
    return blob(1, name) + blob(5, t) + num(20, 4)


def attr_g(name, g):
    return blob(1, name) + blob(6, g) + num(20, 5)


def attr_ints(name, v):
    return blob(1, name) + b"".join(num(8, x) for x in v) + num(20, 7)


def node(op, inputs, outputs, attrs=(), domain="", name="n"):
    b = b"".join(blob(1, i) for i in inputs) + b"".join(blob(2, o) for o in outputs) + blob(3, name) + blob(4, op)
    return b + b"".join(blob(5, a) for a in attrs) + (blob(7, domain) if domain else b"")


def graph(nodes, inputs, outputs, inits=(), sparse=()):
    b = b"".join(blob(1, n) for n in nodes) + blob(2, "g") + b"".join(blob(5, t) for t in inits)
    return b + b"".join(blob(11, v) for v in inputs) + b"".join(blob(12, v) for v in outputs) + b"".join(blob(15, s) for s in sparse)


def model(g, opset=17, domains=(), functions=(), ir=8):
    b = num(1, ir) + blob(7, g) + blob(8, blob(1, "") + num(2, opset))
    b += b"".join(blob(8, blob(1, d) + num(2, v)) for d, v in domains)
    return b + b"".join(blob(25, f) for f in functions)


def function(name, domain, inputs, outputs, nodes, opset=17, domains=()):
    b = blob(1, name) + b"".join(blob(4, i) for i in inputs) + b"".join(blob(5, o) for o in outputs) + b"".join(blob(7, n) for n in nodes)
    return b + blob(9, blob(1, "") + num(2, opset)) + b"".join(blob(9, blob(1, d) + num(2, v)) for d, v in domains) + blob(10, domain)


def external(**entries):
    return num(14, 1) + b"".join(blob(13, blob(1, k) + blob(2, str(v))) for k, v in entries.items())
