// Do what a user does on the page of docs/demo, in headless Chromium.
//
//     node drive.mjs CHROMIUM ADDRESS FOLDER < steps.json
//
// Steps are arrays of a name and its arguments, see below; downloads go to FOLDER. Prints what the
// steps return as JSON. No other host can be reached from this browser.

import { readdirSync } from "node:fs";
import { text } from "node:stream/consumers";

import puppeteer from "../../.venvs/npm/node_modules/puppeteer-core/lib/puppeteer/puppeteer-core.js";

const LIMIT = 300_000; // ms for one step
const [executablePath, address, folder] = process.argv.slice(2);
const browser = await puppeteer.launch({
  executablePath,
  args: ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
  downloadBehavior: { policy: "allow", downloadPath: folder },
  protocolTimeout: LIMIT,
});
const page = await browser.newPage();
await page.setViewport({ width: 1440, height: 1000 });
const requests = [];
const complaints = [];
page.on("request", (request) => requests.push(request.url()));
page.on("pageerror", (error) => complaints.push(String(error)));
page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));

const isVisible = (id) => page.$eval(id, (element) => !element.closest("[hidden]"));

const steps = {
  open: () => page.goto(address).then(() => page.title()),
  choose: async (id, file) => (await page.$(id)).uploadFile(file),
  drop: async (...files) => {
    const client = await page.createCDPSession();
    const data = { items: [], files, dragOperationsMask: 1 };
    for (const type of ["dragEnter", "dragOver", "drop"]) {
      await client.send("Input.dispatchDragEvent", { type, x: 300, y: 150, data });
    }
  },
  type: async (id, value) => {
    await page.$eval(
      id,
      (input, value) => {
        input.value = value;
        input.dispatchEvent(new Event("change"));
      },
      value,
    );
  },
  click: async (id) => {
    await page.waitForSelector(`${id}:enabled`, { visible: true, timeout: LIMIT });
    await page.click(id);
  },
  /** Wait until the text of an element contains words; a problem on the page is an error. */
  wait: async (id, words) => {
    const has = (id, words) =>
      !document.querySelector("#problem").hidden ||
      document.querySelector(id).textContent.includes(words);
    await page.waitForFunction(has, { timeout: LIMIT }, id, words);
    if (await isVisible("#problem")) throw new Error(await steps.text("#problem"));
  },
  /** Wait for a problem on the page, and return its text. */
  problem: async () => {
    await page.waitForSelector("#problem", { visible: true, timeout: LIMIT });
    return steps.text("#problem");
  },
  /** Wait until the file that was downloaded last is complete. */
  saved: async () => {
    const names = () =>
      readdirSync(folder).filter((name) => /_split\.tif(\.crdownload)?$/.test(name));
    while (!names().length || names().some((name) => name.endsWith("crdownload"))) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  },
  text: (id) => page.$eval(id, (element) => element.textContent),
  visible: isVisible,
  enabled: (id) => page.$eval(id, (element) => !element.disabled),
  count: (selector) => page.$$eval(selector, (elements) => elements.length),
  /** Return the mean colour of every panel. */
  colours: () =>
    page.$$eval("canvas", (canvases) =>
      canvases.map((canvas) => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const sums = [0, 0, 0];
        data.forEach((value, i) => i % 4 < 3 && (sums[i % 4] += value));
        return sums.map((sum) => (4 * sum) / data.length);
      }),
    ),
  point: async (selector, x, y) => {
    const box = await (await page.$(selector)).boundingBox();
    await page.mouse.move(box.x + x * box.width, box.y + y * box.height);
  },
  wheel: (deltaY) => page.mouse.wheel({ deltaY }),
  screenshot: async (path) => void (await page.screenshot({ path, fullPage: true })),
  /** Set the width of the window, and wait until the page has been drawn with it. */
  width: async (width) => {
    await page.setViewport({ width, height: 1000 });
    const drawn = () =>
      new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    await page.evaluate(drawn);
  },
  requests: () => requests,
  complaints: () => complaints,
};

const answers = [];
try {
  for (const [name, ...rest] of JSON.parse(await text(process.stdin))) {
    answers.push((await steps[name](...rest)) ?? null);
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(answers));
