"""The models of the golden tests. write(folder, text) makes those whose names occur in the text."""
import os
import struct

from onnx_writer import *

X, Y = value("x", FLOAT, [2, 3]), value("y", FLOAT, [2, 3])


def simple(nodes, inputs=(X,), outputs=(Y,), inits=(), **kw):
    return model(graph(nodes, inputs, outputs, inits), **kw)


def pb(name, dims, v, dtype=FLOAT):
    return tensor(name, dtype, dims, struct.pack("<%d%s" % (len(v), "q" if dtype == INT64 else "f"), *v))


RELU = simple([node("Relu", ["x"], ["y"], name="relu")])
SIX = [-1.0, 2.0, -3.0, 4.0, 0.5, -0.5]
FILES = {
    "relu.onnx": RELU,
    "wrong/model.onnx": RELU,
    "wrong/test_data_set_0/input_0.pb": pb("x", [2, 3], SIX),
    "wrong/test_data_set_0/output_0.pb": pb("y", [2, 3], [0.0, 2.0, 0.0, 4.5, 0.5, 0.0]),
    "right/model.onnx": RELU,
    "right/test_data_set_0/input_0.pb": pb("x", [2, 3], SIX),
    "right/test_data_set_0/output_0.pb": pb("y", [2, 3], [max(0.0, v) for v in SIX]),
    "unsupported/model.onnx": simple([node("NotAnOperator", ["x"], ["y"], name="odd")]),
    "unsupported/test_data_set_0/input_0.pb": pb("x", [2, 3], SIX),
    "two-odd.onnx": simple([node("NotAnOperator", ["x"], ["t"], name="first"), node("Relu", ["t"], ["u"], name="fine"), node("AnotherOne", ["u"], ["y"], name="se\ncond")]),
    "rank.onnx": simple([node("Conv", ["x", "w"], ["y"], name="Conv_5")], [value("x", FLOAT, [1, 1, 4, 4])], [value("y")], [floats("w", [1, 1, 3])]),
    "cycle.onnx": simple([node("Relu", ["y"], ["t"], name="a"), node("Relu", ["t"], ["y"], name="b")]),
    "missing-input.onnx": simple([node("Add", ["x", "nowhere"], ["y"], name="sum")]),
    "short-weights.onnx": simple([node("Add", ["x", "w"], ["y"], name="sum")], inits=[tensor("w", FLOAT, [2, 3], b"\0" * 20)]),
    "broadcast.onnx": simple([node("Add", ["x", "w"], ["y"], name="sum")], inits=[floats("w", [4])]),
    "cut.onnx": RELU[:-7],
    "text.onnx": b"this is no model\n",
    "external.onnx": simple([node("Add", ["x", "w"], ["y"], name="sum")], inits=[tensor("w", FLOAT, [2, 3], extra=external(location="../secret", offset=0, length=24))]),
    "symbol.onnx": simple([node("Relu", ["x"], ["y"], name="relu")], [value("x", FLOAT, ["batch", 3])], [value("y", FLOAT, ["batch", 3])]),
    "reshape.onnx": simple([node("Reshape", ["x", "shape"], ["y"], name="reshape")], [X, value("shape", INT64, [2])], [value("y", FLOAT, ["rows", "columns"])]),
    "shape.pb": pb("shape", [2], [3, 2], INT64),
    "huge.onnx": simple([node("Relu", ["x"], ["y"], name="relu")], [value("x", FLOAT, [1 << 20, 1 << 16])], [value("y")]),
    "f64.onnx": simple([node("Exp", ["x"], ["y"], name="exp")], [value("x", DOUBLE, [4])], [value("y", DOUBLE, [4])]),
    "hint.onnx": simple([node("Relu", ["x"], ["y"], name="relu")], outputs=[value("y", FLOAT, [7, 7])]),
    "mixed.onnx": simple(
        [node("Relu", ["x"], ["t"], name="relu"), node("Cast", ["t"], ["d"], [attr_i("to", DOUBLE)], name="wide"), node("Exp", ["d"], ["y"], name="exp")],
        outputs=[value("y", DOUBLE, [2, 3])],
    ),
    "matmul.onnx": simple([node("MatMul", ["x", "w"], ["y"], name="mm")], inits=[floats("w", [3, 3])]),
    "groups/model.onnx": simple(
        [node("GroupNormalization", ["x", "scale", "bias"], ["y"], [attr_i("num_groups", 2), attr_f("epsilon", 0.0)], name="norm")],
        [value("x", FLOAT, [1, 4])], [value("y", FLOAT, [1, 4])], [floats("scale", [1], [2.0]), floats("bias", [2], [10.0, 20.0])], opset=18),
    "groups/test_data_set_0/input_0.pb": pb("x", [1, 4], [1.0, 3.0, 5.0, 9.0]),
    "groups/test_data_set_0/output_0.pb": pb("y", [1, 4], [8.0, 12.0, 18.0, 22.0]),
    "weights/model.onnx": simple(
        [node("NegativeLogLikelihoodLoss", ["x", "t", "w"], ["y"], [attr_s("reduction", "none")], name="loss")],
        [value("x", FLOAT, [3, 3])], [value("y", FLOAT, [3])], [int64s("t", [1, 0, 2]), floats("w", [2], [2.0, 3.0])]),
    "weights/test_data_set_0/input_0.pb": pb("x", [3, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]),
    "weights/test_data_set_0/output_0.pb": pb("y", [3], [-6.0, -8.0, 0.0]),
    "special.npy": b"\x93NUMPY\x01\x00\x46\x00" + (b"{'descr': '<f4', 'fortran_order': False, 'shape': (8,), }".ljust(69) + b"\n")
    + struct.pack("<8f", float("inf"), float("-inf"), float("nan"), 0.0, -0.0, 3e38, -1.0, 10.0),
    "x.npy": b"\x93NUMPY\x01\x00\x46\x00" + (b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }".ljust(69) + b"\n") + struct.pack("<6f", *SIX),
    "bad.npy": b"\x93NUMPY\x01\x00\x46\x00" + (b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }".ljust(69) + b"\n") + struct.pack("<6f", *SIX),
}


def write(folder, text):
    for name, data in FILES.items():
        first = name.split("/")[0]
        if first not in text:
            continue
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)
