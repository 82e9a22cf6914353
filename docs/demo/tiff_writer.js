// A TIFF file of float32 planes as ImageJ writes it: channels of one image, with their names.

const BYTE = 1;
const ASCII = 2;
const SHORT = 3;
const LONG = 4;
const RATIONAL = 5; // two values of four bytes, which are counted as one
const SIZES = { [BYTE]: 1, [ASCII]: 1, [SHORT]: 2, [LONG]: 4, [RATIONAL]: 4 };
const HEADER = 8;
const MOST_BYTES = 2 ** 32; // which the offsets of a TIFF file can address

const latin = (text) => [...text].map((letter) => letter.charCodeAt(0) & 0xff);

/** Return ImageJ's block of metadata with the names of the planes, and the sizes of its parts. */
function labels(names) {
  const words = names.map((name) =>
    Array.from({ length: name.length }, (_, k) => name.charCodeAt(k)).flatMap((c) => [
      c >> 8,
      c & 255,
    ]),
  );
  const head = [...latin("IJIJlabl"), 0, 0, names.length >> 8, names.length & 255];
  return {
    block: [...head, ...words.flat()],
    sizes: [head.length, ...words.map((w) => w.length)],
  };
}

/** Return the tags of a pixel size [x, y] in micrometres: pixels per unit as fractions. */
const resolution = (pixelSize) =>
  pixelSize.map((size, k) => [282 + k, RATIONAL, [1_000_000, Math.round(size * 1_000_000)]]);

/**
 * Write planes (Float32Array, all of one size) with one name each; return a Blob.
 *
 * pixelSize is [x, y] in micrometres, or null.
 */
export function imagejTiff(planes, names, { height, width, pixelSize }) {
  const count = planes.length;
  const text = [
    "ImageJ=1.54f",
    `images=${count}`,
    `channels=${count}`,
    "hyperstack=true",
    "mode=grayscale",
    ...(pixelSize ? ["unit=micron"] : []),
    "loop=false\n",
  ].join("\n");
  const { block, sizes } = labels(names);
  const planeBytes = 4 * height * width;
  const directories = planes.map((_, n) => [
    [256, LONG, [width]],
    [257, LONG, [height]],
    [258, SHORT, [32]], // bits per sample
    [259, SHORT, [1]], // no compression
    [262, SHORT, [1]], // black is zero
    ...(n ? [] : [[270, ASCII, [...latin(text), 0]]]),
    [273, LONG, [0]], // offset of the pixels, set below
    [277, SHORT, [1]], // samples per pixel
    [278, LONG, [height]], // rows per strip
    [279, LONG, [planeBytes]],
    ...(pixelSize ? resolution(pixelSize) : []),
    [339, SHORT, [3]], // floating point
    ...(n ? [] : [[50838, LONG, sizes], [50839, BYTE, block]]), // prettier-ignore
  ]);
  // A directory is followed by those of its values that do not fit into its entries of 4 bytes.
  const outside = ([, type, values]) => {
    const size = SIZES[type] * values.length;
    return size > 4 ? size + (size % 2) : 0;
  };
  const lengths = directories.map((entries) =>
    entries.reduce((sum, entry) => sum + 12 + outside(entry), 2 + 4),
  );
  const start = HEADER + lengths.reduce((sum, length) => sum + length, 0);
  if (start + count * planeBytes > MOST_BYTES) {
    throw new Error("the result is too large for a TIFF file; split a part of the image");
  }
  const view = new DataView(new ArrayBuffer(start));
  const put = (offset, type, value) => {
    if (type === SHORT) view.setUint16(offset, value);
    else if (type === LONG || type === RATIONAL) view.setUint32(offset, value);
    else view.setUint8(offset, value);
  };
  view.setUint32(0, 0x4d4d002a); // TIFF, big-endian
  view.setUint32(4, HEADER);
  let at = HEADER;
  directories.forEach((entries, n) => {
    const end = at + lengths[n];
    let free = at + 2 + 12 * entries.length + 4;
    view.setUint16(at, entries.length);
    entries.forEach((entry, k) => {
      const [tag, type, values] = entry;
      const place = at + 2 + 12 * k;
      view.setUint16(place, tag);
      view.setUint16(place + 2, type);
      view.setUint32(place + 4, type === RATIONAL ? values.length / 2 : values.length);
      const offset = outside(entry) ? free : place + 8;
      if (outside(entry)) view.setUint32(place + 8, free);
      const written = tag === 273 ? [start + n * planeBytes] : values;
      written.forEach((value, i) => put(offset + i * SIZES[type], type, value));
      free += outside(entry);
    });
    view.setUint32(at + 2 + 12 * entries.length, n + 1 < directories.length ? end : 0);
    at = end;
  });
  return new Blob([view.buffer, ...planes.map(bigEndian)], { type: "image/tiff" });
}

function bigEndian(plane) {
  const view = new DataView(new ArrayBuffer(4 * plane.length));
  plane.forEach((value, i) => view.setFloat32(4 * i, value));
  return view.buffer;
}
