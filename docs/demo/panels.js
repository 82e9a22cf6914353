// Panels that show planes of one image with the same zoom, each with a display range of its own.

// as in denoisplit/images/display.py
const LIGHTS = ["#ff3df2", "#3dff5a", "#3d9bff", "#ffd23d"];
const PERCENTILES = [0.005, 0.998];
const SAMPLE = 200_000; // pixels from which a display range is chosen, at most

const colourOf = (text) => [1, 3, 5].map((k) => parseInt(text.slice(k, k + 2), 16));
export const WHOLE = { scale: 1, x: 0, y: 0 };
const WHITE = [255, 255, 255];

/** Return the colour of structure k as [red, green, blue]. */
export const structureColour = (k, count) =>
  count === 1 ? WHITE : colourOf(LIGHTS[k % LIGHTS.length]);

/** Return a display range that clips the few extreme pixels; error bars begin at 0. */
export function displayRange(pixels, isErrorBar) {
  const step = Math.max(1, Math.floor(pixels.length / SAMPLE));
  const values = Float32Array.from(
    { length: Math.ceil(pixels.length / step) },
    (_, k) => pixels[k * step],
  );
  values.sort();
  const [low, high] = PERCENTILES.map((share) => values[Math.round(share * (values.length - 1))]);
  const start = isErrorBar ? 0 : low;
  return [start, high > start ? high : start + 1];
}

/** Draw layers, {pixels, colour, range}, as the sum of their colours. */
function draw(canvas, layers) {
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  const { data } = picture;
  for (let i = 3; i < data.length; i += 4) data[i] = 255;
  for (const { pixels, colour, range } of layers) {
    const [low, high] = range;
    for (let i = 0; i < pixels.length; i++) {
      const share = Math.min(1, Math.max(0, (pixels[i] - low) / (high - low)));
      // what is stored is clamped to 255
      for (let c = 0; c < 3; c++) data[4 * i + c] += share * colour[c];
    }
  }
  context.putImageData(picture, 0, 0);
}

/** Round a number of the display to three digits. */
export const short = (value) => String(Number(value.toPrecision(3)));

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Panels in a container; `onPoint` is called with the pixel under the pointer, {x, y}, or null. */
export class Panels {
  constructor(container, { onPoint, onZoom }) {
    Object.assign(this, { container, onPoint, onZoom });
    window.addEventListener("resize", () => this.canvases && this.zoom(WHOLE));
  }

  /**
   * Show an image of {height, width} as panels: {title, layers, isAdjustable}. Layers are shared
   * by panels, so that a range that is changed in one changes the overlay too.
   */
  show({ height, width }, panels, columns) {
    Object.assign(this, { height, width, canvases: [] });
    this.container.style.setProperty("--columns", columns);
    const redraws = panels.map(
      ({ layers }, n) =>
        () =>
          draw(this.canvases[n], layers),
    );
    const figures = panels.map(({ title, layers, isAdjustable }) => {
      const canvas = element("canvas", { width, height });
      this.canvases.push(canvas);
      const frame = element("div", { className: "frame" }, canvas);
      this.listen(frame);
      const caption = element("figcaption", {}, element("b", { textContent: title }));
      const changed = () =>
        panels.forEach((other, n) => other.layers.includes(layers[0]) && redraws[n]());
      if (isAdjustable) caption.append(...rangeControls(title, layers[0], changed));
      return element("figure", {}, frame, caption);
    });
    redraws.forEach((redraw) => redraw());
    this.container.replaceChildren(...figures);
    this.zoom(WHOLE);
  }

  /** Show the image at a scale, with pixel (x, y) of the panel at its upper left corner. */
  zoom({ scale, x, y }) {
    const limit = (value, side) => Math.min(Math.max(value, 0), side * (scale - 1));
    const { clientWidth, clientHeight } = this.canvases[0];
    this.view = { scale, x: limit(x, clientWidth), y: limit(y, clientHeight) };
    const transform = `translate(${-this.view.x}px, ${-this.view.y}px) scale(${scale})`;
    for (const canvas of this.canvases) canvas.style.transform = transform;
    this.onZoom(scale > 1);
  }

  listen(frame) {
    const inside = (event) => {
      const box = frame.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top, width: box.width };
    };
    frame.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const { scale, x, y } = this.view;
        const at = inside(event);
        const next = Math.min(32, Math.max(1, scale * 1.002 ** -event.deltaY));
        const ratio = next / scale;
        this.zoom({
          scale: next,
          x: (x + at.x) * ratio - at.x,
          y: (y + at.y) * ratio - at.y,
        });
      },
      { passive: false },
    );
    frame.addEventListener("pointerdown", (event) => frame.setPointerCapture(event.pointerId));
    frame.addEventListener("pointerleave", () => this.onPoint(null));
    frame.addEventListener("pointermove", (event) => {
      if (event.buttons) {
        const { scale, x, y } = this.view;
        this.zoom({ scale, x: x - event.movementX, y: y - event.movementY });
      }
      const at = inside(event);
      const pixel = (this.width / at.width) * (1 / this.view.scale);
      const x = Math.floor((at.x + this.view.x) * pixel);
      const y = Math.floor((at.y + this.view.y) * pixel);
      const isInside = x >= 0 && y >= 0 && x < this.width && y < this.height;
      this.onPoint(isInside ? { x, y } : null);
    });
  }
}

/** Return inputs for the display range of a layer, and a button that chooses it. */
function rangeControls(title, layer, changed) {
  const inputs = ["lower", "upper"].map((end, k) => {
    const input = element("input", {
      type: "number",
      step: "any",
      ariaLabel: `${title}, ${end} end`,
    });
    input.addEventListener("change", () => {
      const range = layer.range.with(k, input.valueAsNumber);
      if (range[0] < range[1]) layer.range = range;
      show();
      changed();
    });
    return input;
  });
  const show = () => inputs.forEach((input, k) => (input.value = short(layer.range[k])));
  const auto = element("button", {
    textContent: "Auto",
    ariaLabel: `${title}, automatic contrast`,
  });
  auto.addEventListener("click", () => {
    layer.range = displayRange(layer.pixels, layer.isErrorBar);
    show();
    changed();
  });
  show();
  return [inputs[0], "to", inputs[1], auto];
}
