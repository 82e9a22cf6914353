// Run ONNX weights in onnxruntime-node (native) or onnxruntime-web (WASM), without bioimageio.
//
//     node in_node.js MODULE FOLDER [FOLDER ...]
//
// MODULE is the folder of either library in node_modules. Each FOLDER holds weights.onnx and
// inputs/*.npy. The outputs are written to onnx/*.npy, or the reason for which there are none to
// onnx.txt.

"use strict";

const { mkdirSync, readFileSync, readdirSync, writeFileSync } = require("fs");
const { join, resolve } = require("path");

const [module_, ...folders] = process.argv.slice(2).map((argument) => resolve(argument));
const { InferenceSession, Tensor, env } = require(module_);
env.wasm.numThreads = 1;
const MAGIC = Buffer.from("\x93NUMPY\x01\x00", "latin1");

/** Read a .npy file of float32 in C order. */
function readArray(file) {
  const bytes = readFileSync(file);
  const start = 10 + bytes.readUInt16LE(8); // format 1.0, as NumPy writes small headers
  const header = bytes.toString("latin1", 10, start);
  const shape = header.match(/'shape': \(([^)]*)\)/)[1].split(",").filter((n) => n.trim());
  if (!header.includes("'<f4'") || !header.includes("'fortran_order': False")) {
    throw new Error(`${file}: expected float32 in C order, not ${header}`);
  }
  const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset + start));
  return new Tensor("float32", values, shape.map(Number));
}

/** Write a .npy file of float32 in C order. */
function writeArray(file, { data, dims }) {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${dims.join(", ")},), }`;
  const header = Buffer.from(text.padEnd(Math.ceil((text.length + 11) / 64) * 64 + 53) + "\n");
  const length = Buffer.alloc(2);
  length.writeUInt16LE(header.length);
  const values = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  writeFileSync(file, Buffer.concat([MAGIC, length, header, values]));
}

async function run(folder) {
  const session = await InferenceSession.create(new Uint8Array(readFileSync(join(folder, "weights.onnx"))));
  mkdirSync(join(folder, "onnx"), { recursive: true });
  for (const name of readdirSync(join(folder, "inputs"))) {
    const { output } = await session.run({ input: readArray(join(folder, "inputs", name)) });
    writeArray(join(folder, "onnx", name), output);
  }
}

async function main() {
  for (const folder of folders) {
    await run(folder).catch((error) => writeFileSync(join(folder, "onnx.txt"), String(error)));
  }
  process.exit(0);
}

main();
