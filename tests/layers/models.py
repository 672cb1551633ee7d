#!/usr/bin/env python3
"""models.py FOLDER: models whose expansion and lowering nest calls that make code, for same_bytes.sh."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "malformed"))
from onnx_writer import *

UNARY = """Exp Log Tan Asin Acos Atan Sinh Cosh Tanh Asinh Acosh Atanh Erf Sqrt Gelu Mish Softplus Selu Elu Celu Sigmoid HardSigmoid HardSwish Softsign
Reciprocal Sin Cos Round Sign ThresholdedRelu Shrink LeakyRelu IsInf""".split()


def save(name, data):
    with open(os.path.join(sys.argv[1], name + ".onnx"), "wb") as f:
        f.write(data)


def of_type(t):
    binary = ["Add", "Sub", "Mul", "Div", "Pow", "Mod", "Min", "Max", "Less"]
    nodes = [node(op, ["x", "z"], [op], [attr_i("fmod", 1)] if op == "Mod" and t == FLOAT else [], name=op) for op in binary]
    outputs = [value(op, BOOL if op == "Less" else t, [9, 70]) for op in binary]
    if t == FLOAT:
        nodes += [node(op, ["x"], [op], name=op) for op in UNARY] + [node("Softmax", ["x"], ["soft"], name="soft"), node("MatMul", ["x", "w"], ["mm"], name="mm")]
        outputs += [value(op, BOOL if op == "IsInf" else t, [9, 70]) for op in UNARY] + [value("soft", t, [9, 70]), value("mm", t, [9, 30])]
    nodes.append(node("GatherND", ["x", "places"], ["g"], name="gather"))
    outputs.append(value("g", t, [3, 70]))
    inputs = [value("x", t, [9, 70]), value("z", t, [9, 70]), value("places", INT64, [3, 1])]
    return model(graph(nodes, inputs, outputs, [floats("w", [70, 30])]), opset=20)


for name, t in ("f32", FLOAT), ("i32", INT32), ("i64", INT64), ("f16", FLOAT16):
    save(name, of_type(t))
