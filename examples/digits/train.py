#!/usr/bin/env python3
"""Trains the digit classifier of the examples on digits that it renders itself, and writes digits.onnx, labels.txt and seven.png.

    python3 -m pip install numpy && python3 examples/digits/train.py

Same seed, same data; the weights depend on numpy's summation order, so the committed model is the reference, not a rerun."""
import os, struct, sys, zlib
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "tests", "malformed"))
import onnx_writer as w

# 5 x 7 strokes of the digits 0 to 9, one row a number.
GLYPHS = [
    (14, 17, 19, 21, 25, 17, 14), (4, 12, 4, 4, 4, 4, 14), (14, 17, 1, 2, 4, 8, 31), (31, 2, 4, 2, 1, 17, 14), (2, 6, 10, 18, 31, 2, 2),
    (31, 16, 30, 1, 1, 17, 14), (6, 8, 16, 30, 17, 17, 14), (31, 1, 2, 4, 8, 8, 8), (14, 17, 17, 14, 17, 17, 14), (14, 17, 17, 15, 1, 2, 12),
]
SIZE = 20


def render(digit, rng, noise=0.15):
    """A digit, scaled, sheared, shifted and blurred, light on dark, values 0 to 1."""
    glyph = np.array([[(row >> (4 - x)) & 1 for x in range(5)] for row in GLYPHS[digit]], float)
    sx, sy, shear = rng.uniform(2.0, 3.0), rng.uniform(1.9, 2.5), rng.uniform(-0.25, 0.25)
    cx, cy = SIZE / 2 + rng.uniform(-2, 2), SIZE / 2 + rng.uniform(-1.5, 1.5)
    y, x = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    v = (y - cy) / sy + 3.5 - 0.5
    u = (x - cx) / sx + shear * (v - 3) + 2.5 - 0.5
    u0, v0 = np.floor(u).astype(int), np.floor(v).astype(int)
    image = np.zeros((SIZE, SIZE))
    for dv in (0, 1):
        for du in (0, 1):
            a, b = v0 + dv, u0 + du
            weight = (1 - abs(v - a)) * (1 - abs(u - b))
            inside = (a >= 0) & (a < 7) & (b >= 0) & (b < 5)
            image += np.where(inside, weight * glyph[np.clip(a, 0, 6), np.clip(b, 0, 4)], 0)
    return np.clip(image * rng.uniform(0.7, 1.2) + rng.normal(0, noise, image.shape), 0, 1).astype(np.float32)


def batch(n, rng):
    labels = rng.integers(0, 10, n)
    return np.stack([render(d, rng) for d in labels])[:, None], labels


def patches(x):  # [n, c, h, w] -> [n, h, w, c * 9], padding 1
    p = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    h, wd = x.shape[2:]
    return np.stack([p[:, :, i:i + h, j:j + wd] for i in range(3) for j in range(3)], 2).reshape(x.shape[0], -1, h, wd).transpose(0, 2, 3, 1)


def unpatch(g, c):  # the transpose of `patches`
    n, h, wd, _ = g.shape
    g = g.transpose(0, 3, 1, 2).reshape(n, c, 9, h, wd)
    out = np.zeros((n, c, h + 2, wd + 2), np.float32)
    for i in range(3):
        for j in range(3):
            out[:, :, i:i + h, j:j + wd] += g[:, :, 3 * i + j]
    return out[:, :, 1:-1, 1:-1]


def conv(x, k, b):
    p = patches(x)
    return (p @ k.reshape(k.shape[0], -1).T + b).transpose(0, 3, 1, 2), p


def pool(x):
    n, c, h, wd = x.shape
    v = x.reshape(n, c, h // 2, 2, wd // 2, 2)
    m = v.max((3, 5))
    return m, v == m[:, :, :, None, :, None]


def forward(p, x):
    a1, p1 = conv(x, p["w1"], p["b1"])
    m1, k1 = pool(np.maximum(a1, 0))
    a2, p2 = conv(m1, p["w2"], p["b2"])
    m2, k2 = pool(np.maximum(a2, 0))
    f = m2.reshape(len(x), -1)
    return f @ p["w3"] + p["b3"], (a1, p1, m1, k1, a2, p2, m2, k2, f)


def gradients(p, x, labels):
    z, (a1, p1, m1, k1, a2, p2, m2, k2, f) = forward(p, x)
    e = np.exp(z - z.max(1, keepdims=True))
    g = e / e.sum(1, keepdims=True)
    g[np.arange(len(x)), labels] -= 1
    g /= len(x)
    out = {"w3": f.T @ g, "b3": g.sum(0)}
    d = (k2 * (g @ p["w3"].T).reshape(m2.shape)[:, :, :, None, :, None]).reshape(a2.shape) * (a2 > 0)
    d = d.transpose(0, 2, 3, 1)
    out["w2"], out["b2"] = np.tensordot(d, p2, ((0, 1, 2), (0, 1, 2))).reshape(p["w2"].shape), d.sum((0, 1, 2))
    d = unpatch(d @ p["w2"].reshape(len(p["w2"]), -1), p["w2"].shape[1])
    d = (k1 * d[:, :, :, None, :, None]).reshape(a1.shape) * (a1 > 0)
    d = d.transpose(0, 2, 3, 1)
    out["w1"], out["b1"] = np.tensordot(d, p1, ((0, 1, 2), (0, 1, 2))).reshape(p["w1"].shape), d.sum((0, 1, 2))
    return out


def train(rng, steps=600):
    he = lambda *s, fan: (rng.normal(0, (2 / fan) ** 0.5, s)).astype(np.float32)
    p = {"w1": he(8, 1, 3, 3, fan=9), "b1": np.zeros(8, np.float32), "w2": he(16, 8, 3, 3, fan=72), "b2": np.zeros(16, np.float32),
         "w3": he(400, 10, fan=400), "b3": np.zeros(10, np.float32)}
    m = {k: np.zeros_like(v) for k, v in p.items()}
    s = {k: np.zeros_like(v) for k, v in p.items()}
    for t in range(1, steps + 1):  # Adam (Kingma and Ba, 2015)
        g = gradients(p, *batch(64, rng))
        for k in p:
            m[k] = 0.9 * m[k] + 0.1 * g[k]
            s[k] = 0.999 * s[k] + 0.001 * g[k] ** 2
            p[k] = (p[k] - 0.003 * (m[k] / (1 - 0.9 ** t)) / (np.sqrt(s[k] / (1 - 0.999 ** t)) + 1e-8)).astype(np.float32)
    return p


def write_onnx(path, p):
    ints = lambda name, v: w.attr_ints(name, v)
    node = w.node
    init = [w.tensor(k, w.FLOAT, v.shape, v.astype("<f4").tobytes()) for k, v in p.items()]
    init.append(w.int64s("flat", [1, 400]))
    conv_attrs = [ints("kernel_shape", [3, 3]), ints("pads", [1, 1, 1, 1]), ints("strides", [1, 1])]
    pool_attrs = [ints("kernel_shape", [2, 2]), ints("strides", [2, 2])]
    nodes = [
        node("Conv", ["image", "w1", "b1"], ["c1"], conv_attrs, name="conv1"), node("Relu", ["c1"], ["r1"], [], name="relu1"),
        node("MaxPool", ["r1"], ["m1"], pool_attrs, name="pool1"), node("Conv", ["m1", "w2", "b2"], ["c2"], conv_attrs, name="conv2"),
        node("Relu", ["c2"], ["r2"], [], name="relu2"), node("MaxPool", ["r2"], ["m2"], pool_attrs, name="pool2"),
        node("Reshape", ["m2", "flat"], ["f"], [], name="flatten"), node("Gemm", ["f", "w3", "b3"], ["z"], [], name="classes"),
        node("Softmax", ["z"], ["probabilities"], [w.attr_i("axis", 1)], name="softmax"),
    ]
    g = w.graph(nodes, [w.value("image", w.FLOAT, [1, 1, SIZE, SIZE])], [w.value("probabilities", w.FLOAT, [1, 10])], init)
    open(path, "wb").write(w.model(g, 13))


def write_png(path, image):
    raw = b"".join(b"\0" + bytes(np.round(row * 255).astype(np.uint8)) for row in image)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 8, 0, 0, 0, 0)
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


if __name__ == "__main__":
    rng = np.random.default_rng(7)
    params = train(rng)
    x, labels = batch(2000, np.random.default_rng(8))
    print("accuracy on 2000 fresh digits: %.4f" % (forward(params, x)[0].argmax(1) == labels).mean())
    write_onnx(os.path.join(HERE, "digits.onnx"), params)
    write_png(os.path.join(HERE, "seven.png"), render(7, np.random.default_rng(9)))
    names = "zero one two three four five six seven eight nine".split()
    open(os.path.join(HERE, "labels.txt"), "w").write("".join(n + "\n" for n in names))
