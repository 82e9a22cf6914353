// Everything that takes time: reading files and splitting. The page asks, and may end the worker.

import * as ort from "onnxruntime-web/wasm";

import { readImage } from "./image.js";
import { readPackage } from "./package.js";
import { oneLine, Problem } from "./problem.js";
import { cut, paste, tilesOf } from "./tiles.js";

// Threads need HTTP headers that many hosts of static files do not send.
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = { wasm: new URL("ort-wasm-simd-threaded.wasm", self.location).href };

let session, opened, image;

const questions = {
  async openPackage({ file }) {
    await session?.release();
    session = undefined;
    const { weights, ...facts } = await readPackage(new Uint8Array(await file.arrayBuffer()));
    try {
      session = await ort.InferenceSession.create(weights, { executionProviders: ["wasm"] });
    } catch (error) {
      throw new Problem(`the network of this package cannot be loaded (${oneLine(error)})`);
    }
    return (opened = facts);
  },

  async openImage({ file, plane }) {
    image = undefined;
    image = await readImage(await file.arrayBuffer(), plane);
    return image;
  },

  async split({ onProgress }) {
    const { stride } = opened.geometry;
    if (Math.min(image.height, image.width) < stride) {
      throw new Problem(`this image is too small; expected at least ${stride} px on each side`);
    }
    const count = 2 * opened.names.length;
    const planes = Array.from({ length: count }, () => new Float32Array(image.pixels.length));
    const tiles = tilesOf(image.height, image.width, opened.geometry);
    for (const [done, tile] of tiles.entries()) {
      const shape = [tile.rows, tile.columns].map(([start, end]) => end - start);
      const input = new ort.Tensor("float32", cut(image, tile), [1, 1, ...shape]);
      const outputs = await session.run({ [session.inputNames[0]]: input });
      const output = outputs[session.outputNames[0]];
      if (output.dims.join() !== [1, count, ...shape].join()) {
        throw new Problem("the network of this package returns another shape than it declares");
      }
      paste(planes, image, output.data, tile);
      onProgress((done + 1) / tiles.length);
    }
    if (!planes.every((plane) => plane.every(Number.isFinite))) {
      throw new Problem(
        "the result has NaN or infinite values; is the image like the training images?",
      );
    }
    return planes;
  },
};

self.onmessage = async ({ data: { question, id, ...rest } }) => {
  const onProgress = (fraction) => self.postMessage({ id, fraction });
  try {
    self.postMessage({ id, answer: await questions[question]({ ...rest, onProgress }) });
  } catch (error) {
    const text = error instanceof Problem ? error.message : `this has failed (${oneLine(error)})`;
    self.postMessage({ id, problem: text });
  }
};
