// Parts of the page of docs/demo that need no browser; run by `make browser`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { readImage } from "../../docs/demo/image.js";
import { imagejTiff } from "../../docs/demo/tiff_writer.js";
import { cut, paste, reflected, tilesOf } from "../../docs/demo/tiles.js";

const image = (height, width) => ({
  height,
  width,
  pixels: Float32Array.from({ length: height * width }, (_, i) => i),
});

const SHAPES = [
  [17, 1000],
  [2000, 31],
  [900, 1801],
];
const GEOMETRIES = [
  { stride: 16, halo: 48 },
  { stride: 64, halo: 640 },
  { stride: 16, halo: 0 },
];

test("tiles cover every pixel once, and a tile is what it is cut from", () => {
  for (const [height, width] of SHAPES) {
    for (const geometry of GEOMETRIES) {
      const whole = image(height, width);
      const copy = new Float32Array(height * width).fill(-1);
      let area = 0;
      for (const tile of tilesOf(height, width, geometry)) {
        const sides = [tile.rows, tile.columns].map(([start, end]) => end - start);
        assert.ok([...sides, tile.y, tile.x].every((n) => n % geometry.stride === 0));
        paste([copy], whole, cut(whole, tile), tile);
        area += tile.height * tile.width;
      }
      assert.equal(area, height * width);
      assert.deepEqual(copy, whole.pixels);
    }
  }
});

test("tiles have their halo inside the image", () => {
  const halo = 112;
  for (const { y, x, height, width, rows, columns } of tilesOf(1500, 1700, {
    stride: 16,
    halo,
  })) {
    for (const [start, length, side, [first, last]] of [
      [y, height, 1500, rows],
      [x, width, 1700, columns],
    ]) {
      assert.equal(first, start ? start - halo : -32);
      assert.ok(last >= Math.min(start + length + halo, side + 32));
    }
  }
});

test("reflection is that of NumPy", () => {
  const wanted = { 1: [0, 0, 0, 0, 0], 2: [1, 0, 1, 0, 1], 3: [1, 2, 1, 0, 1] };
  for (const [side, indices] of Object.entries(wanted)) {
    assert.deepEqual(
      [-3, -2, -1, 0, 1].map((i) => reflected(i, Number(side))),
      indices,
    );
  }
});

test("planes that are written can be read", async () => {
  const { height, width, pixels } = image(5, 7);
  const planes = [pixels, pixels.map((value) => -value / 3)];
  const file = imagejTiff(planes, ["A", "µ"], { height, width, pixelSize: [0.125, 0.5] });
  for (const [number, plane] of planes.entries()) {
    const read = await readImage(await file.arrayBuffer(), number);
    assert.deepEqual([read.height, read.width, read.planes], [5, 7, 2]);
    assert.deepEqual(read.pixels, plane);
    assert.deepEqual(read.pixelSize, [0.125, 0.5]);
  }
});
