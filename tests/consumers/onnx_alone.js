// Run the ONNX weights of a package without bioimageio, in the onnxruntime of deepImageJ.
//
//     node onnx_alone.js MODULES FOLDER
//
// MODULES holds node_modules/onnxruntime-node, FOLDER the files weights.onnx, test_input.npy and
// test_output.npy. Prints the largest difference from the expected output, as a share of the range
// of the input, and then runs an image of odd size, whose values are not compared.

"use strict";

const { readFileSync } = require("fs");
const { join, resolve } = require("path");

const [modules, folder] = process.argv.slice(2).map((argument) => resolve(argument));
const { InferenceSession, Tensor } = require(join(modules, "node_modules", "onnxruntime-node"));

/** Read a .npy file of float32 in C order. */
function readArray(name) {
  const bytes = readFileSync(join(folder, name));
  const start = 10 + bytes.readUInt16LE(8); // format 1.0, as NumPy writes small headers
  const header = bytes.toString("latin1", 10, start);
  const shape = header.match(/'shape': \(([^)]*)\)/)[1].split(",").filter((n) => n.trim());
  if (!header.includes("'<f4'") || !header.includes("'fortran_order': False")) {
    throw new Error(`${name}: expected float32 in C order, not ${header}`);
  }
  const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset + start));
  return { values, shape: shape.map(Number) };
}

/** Return the first rows and columns of an image (1, 1, Y, X). */
function corner({ values, shape }, side) {
  const cut = new Float32Array(side * side);
  for (let y = 0; y < side; y++) {
    cut.set(values.subarray(y * shape[3], y * shape[3] + side), y * side);
  }
  return { values: cut, shape: [1, 1, side, side] };
}

async function main() {
  const session = await InferenceSession.create(join(folder, "weights.onnx"));
  const run = async ({ values, shape }) =>
    (await session.run({ input: new Tensor("float32", values, shape) })).output;
  const image = readArray("test_input.npy");
  const expected = readArray("test_output.npy");
  const found = await run(image);
  if (found.dims.join() !== expected.shape.join()) {
    throw new Error(`the output has shape ${found.dims}, expected ${expected.shape}`);
  }
  let largest = 0;
  for (let i = 0; i < expected.values.length; i++) {
    const difference = Math.abs(found.data[i] - expected.values[i]);
    largest = difference <= largest ? largest : difference; // NaN stays
  }
  const [low, high] = image.values.reduce(
    ([least, most], value) => [Math.min(least, value), Math.max(most, value)],
    [Infinity, -Infinity],
  );
  const odd = await run(corner(image, 77));
  if (odd.dims.slice(2).join() !== "77,77") {
    throw new Error(`an image of 77 x 77 px became ${odd.dims}`);
  }
  console.log(largest / (high - low));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
