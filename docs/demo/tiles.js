// Tiles as `denoisplit predict` has them, so that the results agree: see denoisplit/images/tiling.py
// and denoisplit/prediction/tiles.py. How large they are does not matter for the result, because the
// halo is large enough. Lengths are in px.

const PATCH = 896; // side of what the network sees at once; 0.8 GB with the 32 filters of a preset
const SMALLEST_CORE = 256; // side of the part of a tile that is kept
const BORDER = 32; // by which an image is reflected, rounded up to the stride

const roundUp = (length, stride) => Math.ceil(length / stride) * stride;

/** Cut an axis into cores that cover it once: [start, length], starts being multiples of stride. */
function cuts(side, { stride, halo }) {
  const count = Math.ceil(side / Math.max(SMALLEST_CORE, PATCH - 2 * halo));
  const step = roundUp(Math.ceil(side / count), stride);
  const parts = [];
  for (let start = 0; start < side; start += step) {
    parts.push([start, Math.min(step, side - start)]);
  }
  return parts;
}

/** Return where a core with its halo starts and ends, clipped at the reflected border. */
function span([start, length], side, { stride, halo }) {
  const margin = Math.min(halo, roundUp(BORDER, stride));
  return [
    Math.max(start - halo, -margin),
    Math.min(start + roundUp(length, stride) + halo, roundUp(side, stride) + margin),
  ];
}

/**
 * Return the tiles of an image: {y, x, height, width} of the core, and the spans [start, end) of
 * rows and columns that the network sees. Spans begin outside the image where it is reflected.
 */
export function tilesOf(height, width, geometry) {
  return cuts(height, geometry).flatMap((rows) =>
    cuts(width, geometry).map((columns) => ({
      y: rows[0],
      x: columns[0],
      height: rows[1],
      width: columns[1],
      rows: span(rows, height, geometry),
      columns: span(columns, width, geometry),
    })),
  );
}

/** Return the index inside an axis that an index outside is a reflection of, as in NumPy's pad. */
export function reflected(index, side) {
  if (side === 1) return 0;
  const period = 2 * (side - 1);
  const place = ((index % period) + period) % period;
  return Math.min(place, period - place);
}

/** Cut the patch that a network sees from an image that is reflected at its border. */
export function cut({ pixels, height, width }, { rows, columns }) {
  const [top, bottom] = rows;
  const [left, right] = columns;
  const sources = Array.from({ length: right - left }, (_, k) => reflected(left + k, width));
  const patch = new Float32Array((bottom - top) * sources.length);
  for (let y = top; y < bottom; y++) {
    const row = reflected(y, height) * width;
    const start = (y - top) * sources.length;
    for (let k = 0; k < sources.length; k++) patch[start + k] = pixels[row + sources[k]];
  }
  return patch;
}

/** Copy the core of a tile from what the network returned for its patch to planes (N, Y, X). */
export function paste(planes, image, output, tile) {
  const columns = tile.columns[1] - tile.columns[0];
  const area = (tile.rows[1] - tile.rows[0]) * columns;
  const inside = (tile.y - tile.rows[0]) * columns + tile.x - tile.columns[0];
  planes.forEach((plane, n) => {
    for (let y = 0; y < tile.height; y++) {
      const start = n * area + inside + y * columns;
      plane.set(output.subarray(start, start + tile.width), (tile.y + y) * image.width + tile.x);
    }
  });
}
