// The form of filters. Its state is the address of the page, so that a view can be passed on.

import { count, make } from "./dom.js";

const TITLES = { source: "Source", split: "Split", sensor: "Sensor", task: "Task", class: "Class", reencoded: "Re-encoded" };
const FINDABLE = 12;

export function readAddress() {
  const values = new URLSearchParams(location.search);
  values.delete("sample");
  return values;
}

export function buildFields(host, about, values, { changed, cleared }) {
  const change = () => changed(readForm(host));
  const parts = Object.entries(TITLES)
    .filter(([name]) => about.words[name].length > (name === "reencoded" ? 0 : 1) || values.has(name))
    .map(([name, title]) => choices(name, title, about.words[name], values, change, name === "class" ? about.colours : null));
  parts.push(range("objects", "Number of objects", values, change, 1));
  parts.push(range("size", "Size of an object, px", values, change, "any", "The square root of its area. Reads all records once."));
  const curation = Object.entries({ group: "in a group of copies", leak: "leaks into evaluation", fault: "odd text or boxes" })
    .filter(([name]) => about.curation[name])
    .map(([name, words]) => ({ value: name, name: words, rows: about.curation[name] }));
  if (curation.length) parts.push(choices("curation", "Curation", curation, values, change));
  if (about.quarantine) {
    parts.push(group("Quarantine", values.has("quarantine"),
      make("p", { class: "quiet" }, `${count(about.quarantine)} images have rows or texts that were not stored; “any”, or words of the reason:`),
      make("input", { type: "search", name: "quarantine", value: values.get("quarantine") || "", oninput: slowly(change) })));
  }
  if (about.failures) {
    const reasons = Object.entries(about.failures).map(([name, rows]) => ({ value: name, name: name.replaceAll("_", " "), rows }));
    parts.push(choices("failure", "Answers that fail", [{ value: "any", name: "any reason" }, { value: "none", name: "none: could be read" }, ...reasons], values, change));
    parts.push(range("score", "Score of the answer, 0 to 1", values, change, "any"));
  }
  const excluded = make("input", { type: "checkbox", name: "excluded", value: "true", checked: values.has("excluded"), onchange: change });
  parts.push(group("Excluded by you", values.has("excluded"), make("label", { class: "choice" }, excluded, make("span", { class: "word" }, "on the list"))));
  parts.push(make("p", {}, make("button", { onclick: cleared }, "clear all")));
  host.replaceChildren(...parts);
}

function readForm(host) {
  const values = new URLSearchParams();
  for (const field of host.querySelectorAll("input[name]")) {
    if (field.type === "checkbox" ? field.checked : field.value.trim()) values.append(field.name, field.value.trim());
  }
  return values;
}

function group(title, open, ...content) {
  return make("details", { open }, make("summary", {}, title), ...content);
}

function choices(name, title, words, values, change, colours) {
  const taken = new Set(values.getAll(name));
  const list = make("div", { class: "choices" });
  for (const { value, name: shown, rows } of words) {
    list.append(make("label", { class: "choice", title: shown },
      make("input", { type: "checkbox", name, value, checked: taken.has(value), onchange: change }),
      colours && colours[value] ? make("span", { class: "dot", colour: colours[value] }) : null,
      make("span", { class: "word" }, shown),
      rows === undefined ? null : make("span", { class: "rows" }, count(rows))));
  }
  const find = words.length > FINDABLE && make("input", { type: "search", placeholder: `find one of ${words.length}`, oninput: (event) => {
    const part = event.target.value.toLowerCase();
    for (const label of list.children) label.hidden = !label.title.toLowerCase().includes(part);
  } });
  return group(title, taken.size > 0 || words.length <= 6, find, list);
}

function range(name, title, values, change, step, hint) {
  const field = (end) => make("input", { type: "number", name: `${name}_${end}`, step, min: 0, placeholder: end, "aria-label": `${title}, ${end}`, value: values.get(`${name}_${end}`) || "", oninput: slowly(change) });
  const open = values.has(`${name}_from`) || values.has(`${name}_to`);
  return group(title, open, make("div", { class: "range" }, field("from"), "–", field("to")), hint && make("p", { class: "quiet" }, hint));
}

export function slowly(change, milliseconds = 150) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(change, milliseconds);
  };
}
