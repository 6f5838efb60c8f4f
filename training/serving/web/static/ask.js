// The page of `mmrs demo-web`: an image, a question, the answer as it comes, its boxes over the image; and further questions.

import { ask, make } from "./dom.js";
import { outline, Picture } from "./picture.js";

const at = (id) => document.getElementById(id);
const state = { picture: null, box: null, boxes: [], task: null, stop: null, turns: [], geojson: null };
let about, picture;

const send = (address, value, extra = {}) => fetch(address, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value), ...extra });

async function start() {
  about = await ask("/api/about");
  at("title").textContent = about.title;
  document.title = `${about.title} – mmrs`;
  at("tasks").append(...about.tasks.map((task) => make("button", { onclick: () => choose(task), "data-task": task.name }, task.words)));
  at("pick").hidden = !about.images;
  at("pick").addEventListener("click", openGallery);
  at("file").addEventListener("change", () => at("file").files[0] && upload(at("file").files[0]));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) upload(event.dataTransfer.files[0]);
  });
  for (const [id, factor] of [["smaller", 1 / 1.4], ["larger", 1.4]]) at(id).addEventListener("click", () => picture.zoom(factor));
  at("fit").addEventListener("click", () => picture.reset());
  at("drag").addEventListener("click", () => dragging(at("drag").getAttribute("aria-pressed") !== "true"));
  at("ask").addEventListener("click", () => question().catch(tell));
  at("further").addEventListener("click", () => question(state.turns).catch(tell));
  at("stop").addEventListener("click", () => state.stop?.abort());
  at("words").addEventListener("keydown", (event) => event.key === "Enter" && fill().catch(tell));
  at("json").addEventListener("click", () => save("boxes.json", "application/json", JSON.stringify({ ...about_image(), boxes: state.boxes.map(({ colour, ...box }) => box) }, null, 1)));
  at("dota").addEventListener("click", () => save("boxes.txt", "text/plain", state.boxes.map(({ name, quad }) => `${quad.flat().map((value) => value.toFixed(1)).join(" ")} ${name.trim().split(/\s+/).join("-") || "object"} 0\n`).join("")));
  at("geojson").addEventListener("click", () => save("boxes.geojson", "application/geo+json", JSON.stringify(state.geojson)));
  at("png").addEventListener("click", () => savePicture().catch(tell));
}

const about_image = () => ({ file: state.name, width: state.width, height: state.height, frame: "pixels of the upright image", prompt: at("prompt").value, text: at("answer").textContent });

function tell(error) {
  if (error.name !== "AbortError") at("hint").textContent = error.message;
}

async function upload(file) {
  const image = await new Promise((done, fail) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => fail(reader.error);
    reader.readAsDataURL(file);
  });
  await take({ image }, file.name).catch(tell);
}

async function take(sent, name) {
  at("hint").textContent = "";
  const answer = await send("/api/picture", sent);
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  Object.assign(state, found, { name, box: null });
  at("empty")?.remove();
  picture ||= new Picture(at("host"), {});
  picture.show(`/picture/${found.picture}`, found.width, found.height, []);
  forget();
  at("bar").hidden = false;
  at("size").textContent = `${name}: ${found.width} × ${found.height} px`;
  at("ask").disabled = false;
}

function dragging(on) {
  at("drag").setAttribute("aria-pressed", String(on));
  picture.onBox = on ? (box) => boxed(box) : undefined;
}

function boxed(box) {
  state.box = box;
  dragging(false);
  at("hint").textContent = "";
  if (!state.task?.needs.includes("box")) state.task = about.tasks.find((task) => task.name === "region-captioning");
  mark();
  fill().catch(tell);
}

function mark() {
  for (const button of at("tasks").children) button.setAttribute("aria-pressed", String(button.dataset.task === state.task?.name));
  const wanted = state.task?.needs.find((need) => need !== "box");
  at("words-label").hidden = !wanted;
  at("words-of").textContent = wanted === "class" ? "class" : "words";
}

function choose(task) {
  state.task = task;
  at("hint").textContent = "";
  mark();
  if (!state.picture) tell(new Error("choose an image first"));
  else if (task.needs.some((need) => need !== "box") && !at("words").value.trim()) at("words").focus();
  else if (task.needs.includes("box") && !state.box) {
    dragging(true);
    at("hint").textContent = "drag a box over the image";
  } else fill().catch(tell);
}

async function fill() {
  const answer = await send("/api/prompt", { picture: state.picture, task: state.task.name, words: at("words").value, box: state.box });
  const { prompt, error } = await answer.json();
  if (error) {
    if (state.task.needs.includes("box") && !state.box) dragging(true);
    throw new Error(error);
  }
  at("prompt").value = prompt;
  await question();
}

// What was asked and answered about the image so far; [question, answer as the model said it, answer as shown].
function forget() {
  state.turns = [];
  at("further").hidden = true;
  clearAnswer();
  list([]);
}

function list(turns) {
  at("earlier").replaceChildren(...turns.map(([prompt, , text]) => make("li", {}, make("p", { class: "quiet text" }, prompt), make("p", { class: "text" }, text || "(nothing)"))));
}

function clearAnswer() {
  at("answer").textContent = "";
  at("ended").textContent = "";
  at("legend").replaceChildren();
  at("downloads").hidden = true;
  state.boxes = [];
  picture?.draw([]);
}

async function question(earlier = []) {
  state.stop?.abort();
  const stop = (state.stop = new AbortController());
  const prompt = at("prompt").value;
  state.turns = earlier;
  at("further").hidden = !earlier.length;
  clearAnswer();
  list(earlier);
  at("hint").textContent = "";
  at("stop").hidden = false;
  try {
    const named = state.task?.needs.includes("class") ? at("words").value.trim() : "";
    const answer = await send("/api/ask", { picture: state.picture, prompt, turns: earlier.flatMap(([asked, said]) => [asked, said]), max_tokens: Number(at("tokens").value), class: named }, { signal: stop.signal });
    if (!answer.ok) throw new Error((await answer.json()).error);
    for await (const line of lines(answer.body)) {
      if (line.error) throw new Error(line.error);
      if (line.piece !== undefined) at("answer").textContent += line.piece;
      else {
        show(line);
        state.turns = [...earlier, [prompt, line.said, line.text]];
        at("further").hidden = false;
      }
    }
  } finally {
    if (state.stop === stop) at("stop").hidden = true;
  }
}

async function* lines(body) {
  let rest = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}

function show({ text, reason, boxes, geojson }) {
  at("answer").textContent = text || "(nothing)";
  state.boxes = boxes;
  state.geojson = geojson;
  at("geojson").hidden = !geojson;
  picture.draw(boxes.map((box) => outline(box.quad, box.colour, "", box.name)));
  const counts = new Map();
  for (const { name, colour } of boxes) counts.set(name, { colour, number: (counts.get(name)?.number || 0) + 1 });
  at("legend").replaceChildren(...[...counts].map(([name, { colour, number }]) => make("span", { class: "chip" }, make("span", { class: "dot", colour }), ` ${name || "object"} ${number}`)));
  at("ended").textContent = `${boxes.length} ${boxes.length === 1 ? "box" : "boxes"}${reason === "length" ? "; cut off at the most tokens" : ""}`;
  at("downloads").hidden = false;
}

function save(name, type, content) {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

async function savePicture() {
  const image = new Image();
  image.src = `/picture/${state.picture}`;
  await image.decode();
  const canvas = make("canvas", { width: state.width, height: state.height });
  const drawing = canvas.getContext("2d");
  drawing.drawImage(image, 0, 0);
  drawing.lineWidth = Math.max(1.5, Math.max(state.width, state.height) / 400);
  for (const { quad, colour } of state.boxes) {
    drawing.strokeStyle = colour;
    drawing.beginPath();
    quad.forEach(([x, y]) => drawing.lineTo(x, y));
    drawing.closePath();
    drawing.stroke();
  }
  save("boxes.png", "image/png", await new Promise((done) => canvas.toBlob(done, "image/png")));
}

async function openGallery() {
  const cards = make("div", { class: "members" });
  let offset = 0;
  const load = async () => {
    const { rows } = await ask(`/api/gallery?offset=${offset}`);
    offset += rows.length;
    cards.append(...rows.map(({ row, name }) => make("button", { title: name, onclick: () => {
      at("gallery").close();
      take({ row }, name).catch(tell);
    } }, make("img", { src: `/gallery/${row}`, alt: name, loading: "lazy" }), name)));
    more.hidden = offset >= about.images;
  };
  const more = make("button", { onclick: () => load().catch(tell) }, "more");
  at("gallery").replaceChildren(make("h2", {}, "Images of the shards"), cards, make("p", {}, more, " ", make("button", { onclick: () => at("gallery").close() }, "close")));
  at("gallery").showModal();
  await load().catch(tell);
}

start().catch(tell);
