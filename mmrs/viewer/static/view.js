// The page of `mmrs view`: filters at the left, the grid, and one image in full.

import { ask, count, make } from "./dom.js";
import { buildFields, readAddress, slowly } from "./fields.js";
import { Grid } from "./grid.js";
import { outline, outlines, small } from "./picture.js";
import { SampleView } from "./sample.js";

const ORDERS = { stored: "as stored", objects: "most objects first", size: "largest first" };
const ANSWER_ORDERS = { score: "worst answers first", best: "best answers first" };
const KEYS = [["arrows", "move in the grid; in an image: previous, next"], ["Enter", "open"], ["Esc", "close"], ["+ - 0", "zoom in, out, whole image"],
  ["x", "exclude this, or take it off the list"], ["g", "copies side by side"], ["/", "search"], ["?", "this list"]];

const at = (id) => document.getElementById(id);
const image = (row, isSmall, place = 0) => {
  const query = [isSmall && "small", place && `image=${place}`].filter(Boolean).join("&");
  return `/image/${dataSet.slice(0, 16)}/${row}${query && `?${query}`}`;
};
let about, dataSet, values, grid, sample, current = -1;

async function start() {
  // What is known of all images may take seconds to read; the first ones are there before.
  if (!location.search) showFirst().catch(tell);
  about = await ask("/api/about");
  dataSet = about.data_set;
  document.title = `${about.title} – mmrs view`;
  at("title").textContent = about.title;
  at("title").title = about.data_set;
  if (about.notes.length) {
    at("notes").textContent = about.notes.join(" · ");
    at("notes").hidden = false;
  }
  const orders = about.failures ? { ...ORDERS, ...ANSWER_ORDERS } : ORDERS;
  at("order").append(...Object.entries(orders).map(([value, words]) => make("option", { value }, words)));
  if (about.not_stored) {
    at("not-stored").textContent = `not stored: ${count(about.not_stored)}`;
    at("not-stored").hidden = false;
  }
  values = readAddress();
  sample = new SampleView(at("sample"), { image, onStep: step, onClose: closed, onExclude: excluded });
  if (grid) grid.takeOver({ fetchRows, makeCard, onAnswer, onError: tell });
  else grid = new Grid(at("grid"), { fetchRows, makeCard, onAnswer, onError: tell });
  showFields();
  listen();
  if (new URLSearchParams(location.search).has("sample")) await returned();
  at("grid").focus({ preventScroll: true });
}

async function showFirst() {
  const first = await ask("/api/first");
  if (about || !first.rows.length) return;
  dataSet = first.data_set;
  const onAnswer = () => { at("count").textContent = `the first of ${count(first.images)}; reading the indexes …`; };
  grid = new Grid(at("grid"), { fetchRows: async () => first, makeCard, onAnswer, onError: tell });
}

function showFields() {
  buildFields(at("filters"), about, values, { changed: apply, cleared: clear });
  at("text").value = values.get("text") || "";
  at("order").value = values.get("order") || "stored";
}

// Take new values of the form; the fields outside of it keep theirs.
function apply(found) {
  for (const name of ["text", "order"]) {
    const value = at(name).value.trim();
    if (value && value !== "stored") found.set(name, value);
  }
  values = found;
  remember();
  grid.reset();
}

function clear() {
  values = new URLSearchParams();
  remember();
  showFields();
  grid.reset();
}

function applyOutside() {
  const found = new URLSearchParams([...values].filter(([name]) => name !== "text" && name !== "order"));
  apply(found);
}

// An open image is a step of the browser's history, so that "back" closes it.
function remember(id) {
  const address = new URLSearchParams(values);
  if (id) address.set("sample", id);
  const query = address.toString();
  const isStep = id && !new URLSearchParams(location.search).has("sample");
  history[isStep ? "pushState" : "replaceState"](null, "", query ? `?${query}` : location.pathname);
}

async function returned() {
  const asked = new URLSearchParams(location.search).get("sample");
  if (asked) await sample.show(`/api/sample?id=${encodeURIComponent(asked)}`).catch(tell);
  else sample.close();
}

function fetchRows(offset, limit) {
  const query = new URLSearchParams(values);
  query.set("offset", offset);
  query.set("limit", limit);
  return ask(`/api/rows?${query}`);
}

let waiting;
function onAnswer(answer) {
  const { read, of, failure } = answer.contents;
  const part = of && read < of ? ` · reading texts and sizes ${Math.floor((100 * read) / of)} %` : "";
  at("count").textContent = `${count(answer.total)} of ${count(about.images)}${part}`;
  at("go").max = answer.total;
  if (failure) tell(new Error(`records cannot be read: ${failure}`));
  clearTimeout(waiting);
  // What has been read since changes what is found.
  if (part && !failure) waiting = setTimeout(() => grid.refresh(), 1000);
}

function makeCard(row, index) {
  const shapes = (row.boxes || []).map((box) => outline(box.quad, box.colour, box.ignore ? "ignore" : ""));
  shapes.push(...outlines(row.answer_quads || [], "#ff7f0e", "answer"));
  const marks = [];
  if (row.objects) marks.push(mark(count(row.objects), "objects"));
  if (row.score !== undefined) marks.push(mark(row.score.toFixed(2), "score", row.failed));
  if (row.grouped) marks.push(mark("copy", "in a group of copies"));
  if (row.leak) marks.push(mark("leak", "leaks into evaluation", true));
  if (row.fault) marks.push(mark("odd", "odd text or boxes", true));
  if (row.quarantined) marks.push(mark("part lost", "rows or texts of it were not stored", true));
  if (row.error) marks.push(mark("damaged", row.error, true));
  if (row.excluded) marks.push(mark("excluded", "on the list", true));
  const card = make("div", { class: `cell${row.excluded ? " excluded" : ""}`, onclick: () => open(index) },
    make("div", { class: "frame" }, small(image(row.row, true), row.width, row.height, shapes, row.name), make("div", { class: "marks" }, ...marks)),
    make("span", { class: "name", title: row.name }, row.name));
  return card;
}

function mark(words, title, bad) {
  return make("span", { class: `mark${bad ? " bad" : ""}`, title }, words);
}

async function open(index) {
  if (!sample) return;
  const row = await grid.rowAt(index);
  if (!row) return;
  current = index;
  grid.select(index);
  await sample.show(`/api/sample?row=${row.row}`).catch(tell);
  remember(row.id);
}

function step(by) {
  const next = current + by;
  if (next >= 0 && next < grid.total) open(next);
}

function closed() {
  remember();
  at("grid").focus({ preventScroll: true });
}

function excluded(changed, total) {
  about.excluded = total;
  for (const rows of grid.blocks.values()) {
    for (const row of Array.isArray(rows) ? rows : []) if (row.id === changed.id) row.excluded = changed.excluded;
  }
  grid.clear();
  grid.render();
}

function tell(error) {
  showWindow("That did not work", make("p", { class: "bad text" }, error.message));
}

function showWindow(title, ...content) {
  const dialog = at("window");
  dialog.replaceChildren(make("h2", {}, title), ...content, make("p", {}, make("button", { onclick: () => dialog.close() }, "close")));
  if (!dialog.open) dialog.showModal();
}

function showHelp() {
  const rows = KEYS.map(([key, words]) => make("tr", {}, make("td", {}, make("kbd", {}, key)), make("td", {}, words)));
  showWindow("Keys", make("table", {}, ...rows), make("p", {}, `“exclude this” writes to ${about.exclusions}; build without them: --set exclude=[${about.exclusions}]`));
}

function showNotStored() {
  const body = make("tbody");
  const total = make("span", { class: "quiet" });
  let offset = 0;
  const more = make("button", { onclick: () => load() }, "more");
  async function load(fresh = false) {
    if (fresh) offset = 0;
    const answer = await ask(`/api/not-stored?offset=${offset}&text=${encodeURIComponent(find.value)}`);
    if (fresh) body.replaceChildren();
    body.append(...answer.entries.map((entry) => make("tr", {}, ...["source", "split", "level", "path", "line", "reason"].map((name) => make("td", { class: "text" }, String(entry[name] ?? ""))))));
    offset += answer.entries.length;
    total.textContent = ` ${count(answer.total)} entries`;
    more.hidden = offset >= answer.total;
  }
  const find = make("input", { type: "search", placeholder: "words of the reason", oninput: slowly(() => load(true)) });
  const head = make("tr", {}, ...["source", "split", "level", "path", "line", "reason"].map((name) => make("th", {}, name)));
  showWindow("What was found and not stored", make("p", {}, find, total), make("div", { class: "wide" }, make("table", {}, make("thead", {}, head), body)), more);
  load().catch(tell);
}

function listen() {
  at("text").addEventListener("input", slowly(applyOutside));
  at("order").addEventListener("change", applyOutside);
  at("go").addEventListener("change", () => at("go").value && grid.goTo(Math.min(Math.max(at("go").value - 1, 0), grid.total - 1)));
  at("help").addEventListener("click", showHelp);
  at("not-stored").addEventListener("click", showNotStored);
  at("filters-toggle").addEventListener("click", () => {
    const isOpen = at("filters").classList.toggle("open");
    at("filters-toggle").setAttribute("aria-expanded", String(isOpen));
  });
  addEventListener("popstate", returned);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || at("window").open) return;
    if (event.target.matches("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const run = sample.open ? sampleKey(event.key) : gridKey(event.key, event.target);
    if (run) {
      event.preventDefault();
      run();
    }
  });
}

function sampleKey(key) {
  return {
    ArrowLeft: () => step(-1), ArrowRight: () => step(1), k: () => step(-1), j: () => step(1), "+": () => sample.zoom(1.4), "=": () => sample.zoom(1.4),
    "-": () => sample.zoom(1 / 1.4), 0: () => sample.fit(), x: () => sample.exclude().catch(tell), g: () => sample.toggleBeside(),
  }[key];
}

function gridKey(key, target) {
  if (key === "Enter" && target.matches("button, summary, a")) return undefined;
  const move = (by) => () => grid.select(grid.selected + by);
  const page = () => Math.max(1, Math.floor(at("grid").clientHeight / grid.line)) * grid.columns;
  return {
    ArrowLeft: move(-1), ArrowRight: move(1), ArrowUp: move(-grid.columns), ArrowDown: move(grid.columns), PageDown: () => grid.select(grid.selected + page()),
    PageUp: () => grid.select(grid.selected - page()), Home: () => grid.goTo(0), End: () => grid.goTo(grid.total - 1),
    Enter: () => open(grid.selected), "/": () => at("text").focus(), "?": showHelp,
  }[key];
}

start().catch(tell);
