import { displayRange, Panels, short, structureColour, WHOLE } from "./panels.js";
import { imagejTiff } from "./tiff_writer.js";

const at = (id) => document.getElementById(id);
const state = { files: {}, opened: null, image: null, result: null };
let isBusy = false; // with one of the actions at the end of this file
const CANCELLED = new Error("cancelled");

// ---------------------------------------------------------------- the worker

let worker;
let waiting = new Map(); // id of a question -> what to do with its answer
let count = 0;

function startWorker() {
  worker?.terminate();
  for (const { reject } of waiting.values()) reject(CANCELLED);
  waiting = new Map();
  worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data: { id, fraction, answer, problem } }) => {
    const question = waiting.get(id);
    if (!question) return;
    if (fraction !== undefined) return question.onProgress(fraction);
    waiting.delete(id);
    if (problem) question.reject(new Error(problem));
    else question.resolve(answer);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    for (const { reject } of waiting.values()) {
      reject(new Error("the program for splitting did not start; load this page again"));
    }
  };
}

function ask(question, facts = {}, onProgress = () => {}) {
  return new Promise((resolve, reject) => {
    const id = count++;
    waiting.set(id, { resolve, reject, onProgress });
    worker.postMessage({ question, id, ...facts });
  });
}

// ---------------------------------------------------------------- state on the page

function update() {
  const { opened, image, result } = state;
  at("split").disabled = !opened || !image || isBusy;
  at("download").hidden = !result || isBusy;
  at("plane-row").hidden = !(image?.planes > 1);
  for (const id of ["package", "image", "plane"]) at(id).disabled = isBusy;
}

function complain(text) {
  at("problem").hidden = !text;
  at("problem").textContent = text;
}

/** Do one thing at a time; what fails is shown as one line. */
async function attempt(action) {
  if (isBusy) return;
  isBusy = true;
  complain("");
  update();
  try {
    await action();
  } catch (error) {
    complain(error.message);
  }
  isBusy = false;
  update();
}

async function openPackage(file) {
  Object.assign(state, { opened: null, result: null });
  update();
  at("package-facts").textContent = `reading ${file.name} ...`;
  try {
    state.opened = await ask("openPackage", { file });
    state.files.package = file;
    const { name, names } = state.opened;
    at("package-facts").textContent = `${name}: ${names.join(" and ")}`;
    at("package-facts").title = state.opened.description;
  } catch (error) {
    at("package-facts").textContent = "choose another package";
    throw new Error(`${file.name}: ${error.message}`);
  }
}

async function openImage(file, plane = 0) {
  Object.assign(state, { image: null, result: null });
  update();
  at("image-facts").textContent = `reading ${file.name} ...`;
  try {
    state.image = await ask("openImage", { file, plane });
    state.files.image = file;
  } catch (error) {
    at("image-facts").textContent = "choose another image";
    throw new Error(`${file.name}: ${error.message}`);
  }
  const { height, width, planes } = state.image;
  state.plane = plane;
  at("image-facts").textContent = `${file.name}: ${width} x ${height} px`;
  at("planes").textContent = planes;
  at("plane").max = planes;
  at("plane").value = plane + 1;
  at("status").textContent = "";
  show();
}

async function split() {
  state.result = null;
  at("cancel").hidden = at("progress").hidden = false;
  at("progress").value = 0;
  at("status").textContent = "";
  const start = performance.now();
  const seconds = () => (performance.now() - start) / 1000;
  try {
    state.result = await ask("split", {}, (fraction) => {
      at("progress").value = fraction;
      const left = (seconds() * (1 - fraction)) / fraction;
      at("status").textContent = `${Math.round(100 * fraction)} %, ${Math.ceil(left)} s left`;
    });
    at("status").textContent = `split in ${seconds().toFixed(1)} s`;
  } catch (error) {
    at("status").textContent = "";
    if (error !== CANCELLED) throw error;
    at("status").textContent = "cancelled";
  } finally {
    at("cancel").hidden = at("progress").hidden = true;
  }
  if (state.result) show();
  else await reopen();
}

/** Open the files again in a new worker: one cannot be interrupted, so that cancelling ends it. */
async function reopen() {
  const { files, plane } = state;
  await ask("openPackage", { file: files.package });
  await ask("openImage", { file: files.image, plane });
}

// ---------------------------------------------------------------- the result

const panels = new Panels(at("panels"), {
  onPoint: (point) => (at("values").textContent = point ? valuesAt(point) : ""),
  onZoom: (isZoomed) => (at("whole").hidden = !isZoomed),
});

function layer(pixels, colour, isErrorBar = false) {
  return { pixels, colour, isErrorBar, range: displayRange(pixels, isErrorBar) };
}

function show() {
  const { image, result, opened } = state;
  const raw = {
    title: "Image",
    layers: [layer(image.pixels, [255, 255, 255])],
    isAdjustable: true,
  };
  if (!result) return panels.show(image, [raw], 2);
  const n = opened.names.length;
  const layers = result.map((pixels, k) => layer(pixels, structureColour(k % n, n), k >= n));
  const single = (k) => ({
    title: k < n ? opened.names[k] : `${opened.names[k - n]}, error bar`,
    layers: [layers[k]],
    isAdjustable: true,
  });
  const overlay = { title: "Structures together", layers: layers.slice(0, n) };
  const pairs = opened.names.flatMap((_, k) => [single(k), single(k + n)]);
  panels.show(image, [raw, overlay, ...pairs], n + 1);
}

function valuesAt({ x, y }) {
  const { image, result, opened } = state;
  const i = y * image.width + x;
  const n = opened?.names.length;
  const structures = result
    ? opened.names.map((name, k) => `${name} ${short(result[k][i])} ± ${short(result[k + n][i])}`)
    : [];
  return [`x ${x}, y ${y}`, `image ${short(image.pixels[i])}`, ...structures].join("; ");
}

function download() {
  const { image, result, opened, files } = state;
  const names = [...opened.names, ...opened.names.map((name) => `${name}_std`)];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(imagejTiff(result, names, image));
  link.download = `${files.image.name.replace(/\.[^.]*$/, "")}_split.tif`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// ---------------------------------------------------------------- what the user does

/** Open dropped or chosen files, each by its kind. */
async function openFiles(files) {
  for (const file of files) {
    await (/\.zip$/i.test(file.name) ? openPackage(file) : openImage(file));
  }
}

for (const id of ["package", "image"]) {
  at(id).addEventListener("change", () => attempt(() => openFiles(at(id).files)));
}
at("plane").addEventListener("change", () => {
  const plane = Math.min(Math.max(1, at("plane").valueAsNumber || 1), state.image.planes) - 1;
  attempt(() => openImage(state.files.image, plane));
});
at("split").addEventListener("click", () => attempt(split));
at("cancel").addEventListener("click", startWorker);
at("download").addEventListener("click", () => attempt(download));
at("whole").addEventListener("click", () => panels.zoom(WHOLE));
for (const [event, isOver] of [
  ["dragover", true],
  ["dragleave", false],
  ["drop", false],
]) {
  document.addEventListener(event, (dragged) => {
    dragged.preventDefault();
    document.body.classList.toggle("over", isOver);
    if (event === "drop") attempt(() => openFiles([...dragged.dataTransfer.files]));
  });
}

startWorker();
update();
