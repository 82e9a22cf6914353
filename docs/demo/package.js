import { strFromU8, unzipSync } from "fflate";
import { load } from "js-yaml";

import { Problem } from "./problem.js";

const DESCRIPTIONS = ["rdf.yaml", "bioimageio.yaml"];
const MOST_BYTES = 1 << 30; // of the weights, after unpacking

/** Unpack one file of a zip archive; null if it is not there. */
function unpack(archive, names, most) {
  const files = unzipSync(archive, {
    filter: ({ name, originalSize }) => {
      if (!names.includes(name)) return false;
      if (originalSize > most) throw new Problem(`${name} in the package is too large`);
      return true;
    },
  });
  return Object.values(files)[0] ?? null;
}

/** Compare a file with its SHA-256; browsers compute it on https and on this machine only. */
async function isIntact(bytes, expected) {
  if (!expected || !globalThis.crypto?.subtle) return true;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((n) => n.toString(16).padStart(2, "0")).join("") === expected;
}

function channelNames(tensors) {
  const tensor = tensors?.length === 1 ? tensors[0] : null;
  const axes = (tensor?.axes ?? []).map((axis) => axis.id ?? axis.type).join();
  return axes === "batch,channel,y,x" ? tensor.axes[1].channel_names : null;
}

const gcd = (a, b) => (b ? gcd(b, a % b) : a);

/** Return the stride of the network and the halo of its tiles, px. */
function geometryOf(description, facts) {
  let { stride, halo } = facts.prediction ?? {};
  if (stride === undefined) {
    // Packages of earlier releases: both sizes of their tiles are multiples of the stride.
    halo = description.outputs[0].axes[3].halo;
    stride = gcd(description.inputs[0].axes[3].size, halo);
  }
  const valid = [stride, halo].every(Number.isInteger) && stride > 0 && halo >= 0 && halo <= 1024;
  if (!valid || halo % stride) {
    throw new Problem("the package names no usable size and halo of tiles");
  }
  return { stride, halo };
}

/**
 * Read a package of kind fast.
 *
 * Returns {name, description, names, geometry, weights}: names of the structures, the stride and
 * halo of its tiles, and the network as an ONNX file.
 */
export async function readPackage(archive) {
  let text, description;
  try {
    text = unpack(archive, DESCRIPTIONS, 1 << 20);
    description = text && load(strFromU8(text));
  } catch (error) {
    if (error instanceof Problem) throw error;
    const found = text ? "its description is unreadable" : "it is damaged or no zip file";
    throw new Problem(`this package cannot be read: ${found}`);
  }
  if (description?.type !== "model") {
    throw new Problem("this zip file is no model package: it has no rdf.yaml of a model");
  }
  const facts = description.config?.denoisplit;
  if (facts?.kind !== "fast") {
    const found = facts?.kind ? `of kind ${facts.kind}` : "not made by denoisplit";
    throw new Problem(
      `this package is ${found}; export one with: denoisplit export RUN --kind fast`,
    );
  }
  const channels = channelNames(description.outputs);
  const names = channels?.slice(0, channels.length / 2);
  const expected = names?.flatMap((name) => [name, `${name}_std`]).sort();
  if (
    !names?.length ||
    !channelNames(description.inputs) ||
    `${expected}` !== `${[...channels].sort()}`
  ) {
    throw new Problem("the axes or channels of this package are not those of kind fast");
  }
  const geometry = geometryOf(description, facts);
  const { source, sha256 } = description.weights?.onnx ?? {};
  let weights;
  try {
    weights = unpack(archive, [source], MOST_BYTES);
  } catch (error) {
    if (error instanceof Problem) throw error;
  }
  if (!weights || !(await isIntact(weights, sha256))) {
    throw new Problem("the ONNX weights of this package are missing or damaged; download it again");
  }
  return {
    name: description.name,
    description: description.description,
    names,
    geometry,
    weights,
  };
}
