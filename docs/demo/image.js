import { decode as decodePng, hasPngSignature } from "fast-png";
import { fromArrayBuffer } from "geotiff";

import { Problem } from "./problem.js";

const MOST_PIXELS = 64 * 2 ** 20; // of a plane; results take several times as much memory
const MOST_SIDE = 16384; // px, of a canvas
const MOST_PLANES = 100_000;
const UNREADABLE = "this image is damaged or of an unknown format; expected a TIFF or PNG file";

/** Refuse a plane before its pixels are read. */
function check(height, width, channels, bits, isFloat = false) {
  if (channels !== 1) {
    throw new Problem("this is a colour image; expected grey values, one channel per plane");
  }
  if (!(isFloat ? bits === 32 : bits === 8 || bits === 16)) {
    const type = isFloat ? "floating point" : "integer";
    throw new Problem(`its pixels are ${bits}-bit ${type}; expected 8-bit, 16-bit or float32`);
  }
  if (
    !(height > 0 && width > 0) ||
    Math.max(height, width) > MOST_SIDE ||
    height * width > MOST_PIXELS
  ) {
    throw new Problem(
      `this image has ${width} x ${height} px; expected at most ${MOST_SIDE} px a side and 64 megapixels`,
    );
  }
}

/** Count the planes of a TIFF file; its list of planes may be damaged and lead in a circle. */
async function countPlanes(tiff) {
  const seen = new Set();
  for (let count = 0; count < MOST_PLANES; count++) {
    const next = (await tiff.requestIFD(count)).nextIFDByteOffset;
    if (next === 0) return count + 1;
    if (seen.has(next)) throw new Problem(UNREADABLE);
    seen.add(next);
  }
  throw new Problem(`this TIFF has more than ${MOST_PLANES} planes`);
}

/** Return whether parts of the pixels are not in the file; the library would read zeros. */
async function hasHoles({ fileDirectory }) {
  const tag = fileDirectory.hasTag("TileByteCounts") ? "TileByteCounts" : "StripByteCounts";
  return fileDirectory.hasTag(tag) && [await fileDirectory.loadValue(tag)].flat().includes(0);
}

/** Return the side of a pixel in micrometres as OME-TIFF or ImageJ states it, or null. */
async function pixelSize(image) {
  const load = async (tag) =>
    image.fileDirectory.hasTag(tag) ? image.fileDirectory.loadValue(tag) : undefined;
  const text = String(await load("ImageDescription"));
  const ome = ["X", "Y"].map(
    (axis) => text.match(`<Pixels[^>]*PhysicalSize${axis}="([^"]+)"`)?.[1],
  );
  if (/<Pixels[^>]*PhysicalSize[XY]Unit="(?!(µ|&#181;|&#xB5;)m")/i.test(text)) return null;
  let sizes = ome.map(Number);
  if (/^ImageJ=/.test(text) && /^unit=(micron|um|µm|\\u00B5m)\s*$/m.test(text)) {
    const counts = [await load("XResolution"), await load("YResolution")];
    sizes = counts.map((fraction) => fraction?.[1] / fraction?.[0]);
  }
  return sizes.every((size) => size > 0 && size < Infinity) ? sizes : null;
}

async function readTiff(buffer, number) {
  const tiff = await fromArrayBuffer(buffer);
  const planes = await countPlanes(tiff);
  const image = await tiff.getImage(Math.min(number, planes - 1));
  const [height, width] = [image.getHeight(), image.getWidth()];
  const isFloat = image.getSampleFormat() === 3;
  check(height, width, image.getSamplesPerPixel(), image.getBitsPerSample(), isFloat);
  if (await hasHoles(image)) throw new Problem(UNREADABLE);
  const [pixels] = await image.readRasters();
  const first = await tiff.getImage(0); // it alone has the description of the whole file
  return { height, width, planes, pixels, pixelSize: await pixelSize(first) };
}

function readPng(bytes) {
  const { height, width, channels, depth, palette, data } = decodePng(bytes, { checkCrc: true });
  check(height, width, palette ? 3 : channels, depth);
  return { height, width, planes: 1, pixels: data, pixelSize: null };
}

/**
 * Read one plane of an image file; the number counts from 0.
 *
 * Returns {height, width, planes, pixels, pixelSize}: number of planes in the file, float32 grey
 * values, and the sides of a pixel [x, y] in micrometres, null if unknown.
 */
export async function readImage(buffer, number) {
  const bytes = new Uint8Array(buffer);
  let image;
  try {
    image = hasPngSignature(bytes) ? readPng(bytes) : await readTiff(buffer, number);
  } catch (error) {
    throw error instanceof Problem ? error : new Problem(UNREADABLE);
  }
  const pixels = Float32Array.from(image.pixels);
  if (pixels.length !== image.height * image.width) throw new Problem(UNREADABLE);
  if (!pixels.every(Number.isFinite)) {
    throw new Problem("this image has NaN or infinite values; expected finite intensities");
  }
  return { ...image, pixels };
}
