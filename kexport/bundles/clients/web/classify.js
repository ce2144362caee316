// The page: photographs in, class names out. ?self-test runs the self-test at once, ?image=NAME classifies that file.

import { arrayOf, asInput, fitted, ofCanvas } from "./preprocess.js";
import { openModel } from "./runtime.js";

const at = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.search);

function tell(text, state) {
  at("status").textContent = text;
  at("status").dataset.state = state;
}

async function bytes(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.arrayBuffer();
}

const json = async (path) => JSON.parse(new TextDecoder().decode(await bytes(path)));
const contract = await json("contract.json");
const labels = contract.has_labels ? new TextDecoder().decode(await bytes("labels.txt")).trimEnd().split("\n") : [];

function real(values, spec) {
  const numbers = Array.from(values, Number);
  return spec.scale ? numbers.map((value) => (value - spec.zero_point) * spec.scale) : numbers;
}

async function classify(source) {
  const rule = contract.preprocessing;
  const picture = await createImageBitmap(source, { imageOrientation: "from-image" });
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const image = ofCanvas(context.getImageData(0, 0, picture.width, picture.height), rule.mean.length);
  const pixels = fitted(image, rule);
  show(pixels);
  const started = performance.now();
  const [values] = await model.run(asInput(pixels, contract));
  const milliseconds = performance.now() - started;
  list(real(values, contract.outputs[0]));
  tell(`${milliseconds.toFixed(1)} ms on ${model.name}`, "done");
}

function show(pixels) {
  const [height, width] = contract.preprocessing.size, channels = contract.preprocessing.mean.length;
  const data = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) data.data[4 * i + c] = pixels[i * channels + (channels === 1 ? 0 : c)];
    data.data[4 * i + 3] = 255;
  }
  Object.assign(at("seen"), { width, height });
  at("seen").getContext("2d").putImageData(data, 0, 0);
  at("shown").hidden = false;
}

function list(values) {
  const order = values.map((_, index) => index).sort((a, b) => values[b] - values[a]).slice(0, 5);
  at("classes").replaceChildren(...order.map((index) => {
    const line = document.createElement("li"), name = document.createElement("span"), number = document.createElement("span");
    name.textContent = labels[index] ?? `class ${index}`;
    number.textContent = values[index].toFixed(4);
    number.className = "number";
    line.style.setProperty("--share", `${100 * Math.min(1, Math.max(0, values[index]))}%`);
    line.append(name, number);
    return line;
  }));
}

// Lines for what differs from the golden files; none if all is well.
async function selfTest() {
  const golden = await json("golden/golden.json"), problems = [];
  const stored = async (spec) => new (arrayOf(spec.dtype))(await bytes(`golden/${spec.file}`));
  const images = await stored(golden.images), [spec] = Object.values(golden.inputs), inputs = await stored(spec);
  const count = spec.shape[0], size = inputs.length / count;
  for (let row = 0; row < count; row++) {
    const input = inputs.subarray(row * size, (row + 1) * size);
    const made = asInput(images.subarray(row * size, (row + 1) * size), contract);
    differs(`image ${row}: input`, made, input, 1e-6, problems);
    const found = await model.run(input);
    for (const [place, [name, output]] of Object.entries(golden.outputs).entries()) {
      const all = await stored(output), length = all.length / count;
      const wanted = all.subarray(row * length, (row + 1) * length);
      differs(`image ${row}: ${name}`, found[place], wanted, golden.tolerance.relative_to_largest, problems);
      if (contract.classes && best(found[place]) !== best(wanted)) problems.push(`image ${row}: another class`);
    }
  }
  return problems;
}

const best = (values) => values.reduce((top, value, index) => (value > values[top] ? index : top), 0);

function differs(what, found, wanted, tolerance, problems) {
  let difference = found.length === wanted.length ? 0 : Infinity, largest = 1e-30;
  for (let i = 0; i < wanted.length; i++) {
    const away = Math.abs(Number(found[i]) - Number(wanted[i]));
    difference = away > difference || Number.isNaN(away) ? (Number.isNaN(away) ? Infinity : away) : difference;
    largest = Math.max(largest, Math.abs(Number(wanted[i])));
  }
  if (difference > tolerance * largest) problems.push(`${what} differs by ${difference}, at most ${tolerance * largest}`);
}

async function guarded(work) {
  try {
    await work();
  } catch (error) {
    tell(String(error), "failed");
  }
}

const test = () => guarded(async () => {
  tell("self-test runs", "loading");
  const problems = await selfTest();
  if (problems.length) tell(`self-test FAILED: ${problems.join("; ")}`, "failed");
  else tell(`self-test passed on ${model.name}`, "passed");
});

at("title").textContent = document.title = `${contract.model}, ${contract.scheme}`;
let model;
await guarded(async () => {
  model = await openModel(contract);
  tell(`ready: ${model.name}`, "ready");
});
if (model) {
  const given = (file) => file && guarded(() => classify(file));
  at("file").addEventListener("change", (event) => given(event.target.files[0]));
  at("test").addEventListener("click", test);
  const drop = at("drop");
  for (const name of ["dragover", "drop", "dragleave"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop") given(event.dataTransfer.files[0]);
    });
  }
  if (asked.has("self-test")) await test();
  if (asked.has("image")) await guarded(async () => classify(new Blob([await bytes(asked.get("image"))])));
}
