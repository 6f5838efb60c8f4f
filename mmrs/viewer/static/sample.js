// One image with all that is known of it; beside it, on request, the other members of its group of copies.

import { ask, count, make } from "./dom.js";
import { outline, outlines, Picture, small } from "./picture.js";

export class SampleView {
  constructor(dialog, { image, onStep, onClose, onExclude }) {
    Object.assign(this, { dialog, image, onStep, onClose, onExclude });
    this.hidden = new Set();
    this.layers = { truth: true, answer: true };
    this.panes = [];
    dialog.addEventListener("close", () => onClose());
  }

  get open() {
    return this.dialog.open;
  }

  async show(address) {
    const asked = (this.asked = (this.asked || 0) + 1);
    const sample = await ask(address);
    if (asked !== this.asked) return;
    this.sample = sample;
    this.beside = false;
    this.build();
    if (!this.dialog.open) this.dialog.showModal();
    this.stage.querySelector("svg").focus({ preventScroll: true });
  }

  close() {
    if (this.dialog.open) this.dialog.close();
  }

  build() {
    const { sample } = this;
    const button = (words, title, run, extra = {}) => make("button", { title, onclick: run, ...extra }, words);
    this.excludeButton = button(sample.excluded ? "take off the list" : "exclude this", "x", () => this.exclude());
    const bar = make("div", { class: "bar" },
      button("‹", "previous (left)", () => this.onStep(-1), { "aria-label": "previous" }),
      button("›", "next (right)", () => this.onStep(1), { "aria-label": "next" }),
      button("−", "smaller (-)", () => this.zoom(1 / 1.4), { "aria-label": "smaller" }),
      button("+", "larger (+)", () => this.zoom(1.4), { "aria-label": "larger" }),
      button("fit", "whole image (0)", () => this.fit()),
      make("span", { class: "name", title: sample.name }, sample.name),
      sample.answers.length ? this.layerButton("truth") : null,
      sample.answers.length ? this.layerButton("answer") : null,
      sample.group_size > 1 && button("side by side", "copies side by side (g)", () => this.toggleBeside(), { "aria-pressed": String(this.beside) }),
      make("a", { href: `?sample=${encodeURIComponent(sample.id)}`, title: "link to this image" }, "link"),
      make("a", { href: this.image(sample.row, false), download: "" }, "image"),
      this.excludeButton,
      button("×", "close (Esc)", () => this.close(), { "aria-label": "close", class: "close" }));
    this.stage = make("div", { class: "stage" });
    this.facts = make("div", { class: "facts" });
    this.dialog.replaceChildren(make("div", { class: "sample" }, bar, this.stage, this.facts));
    this.buildPanes();
    this.facts.append(...this.factParts());
  }

  buildPanes() {
    const shown = this.beside ? [this.sample, ...this.sample.group.filter((row) => row.row !== this.sample.row)] : [this.sample];
    this.stage.replaceChildren();
    const columns = Math.ceil(Math.sqrt(shown.length));
    this.stage.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
    this.stage.style.gridTemplateRows = `repeat(${Math.ceil(shown.length / columns)}, minmax(0, 1fr))`;
    this.panes = shown.map((row) => {
      const host = make("div", { class: "host" });
      this.stage.append(make("div", { class: "pane" }, shown.length > 1 && make("span", { class: "name", title: row.name }, row.name), host));
      const picture = new Picture(host);
      picture.show(this.image(row.row, false), row.width, row.height, this.shapes(row));
      return { row, picture };
    });
    if (!this.beside) this.buildFurther();
  }

  // Images after the first, of samples that have several: objects are the first one's.
  buildFurther() {
    const { sample } = this;
    const images = sample.record?.further_images || [];
    if (!images.length || sample.images !== images.length + 1) return;
    this.stage.style.gridTemplateColumns = `repeat(${sample.images}, minmax(0, 1fr))`;
    images.forEach((info, number) => {
      const host = make("div", { class: "host" });
      this.stage.append(make("div", { class: "pane" }, make("span", { class: "name" }, info.role || `image ${number + 2}`), host));
      new Picture(host).show(this.image(sample.row, false, number + 1), info.width, info.height, []);
    });
  }

  shapes(row) {
    const shapes = this.layers.truth
      ? (row.boxes || []).filter((box) => !this.hidden.has(box.name)).map((box) => outline(box.quad, box.colour, box.ignore ? "ignore" : "", box.words))
      : [];
    for (const answer of row.answers || []) {
      if (this.layers.truth) shapes.push(...outlines(answer.truth_quads, "#2ca02c", "truth", "true"));
      if (this.layers.answer) shapes.push(...outlines(answer.answer_quads, "#ff7f0e", "answer", "answered"));
    }
    return shapes;
  }

  redraw() {
    for (const { row, picture } of this.panes) picture.draw(this.shapes(row));
  }

  layerButton(name) {
    return make("button", { "aria-pressed": String(this.layers[name]), onclick: (event) => {
      this.layers[name] = !this.layers[name];
      event.target.setAttribute("aria-pressed", String(this.layers[name]));
      this.redraw();
    } }, name);
  }

  zoom(factor) {
    for (const { picture } of this.panes) picture.zoom(factor);
  }

  fit() {
    for (const { picture } of this.panes) picture.reset();
  }

  toggleBeside() {
    if (this.sample.group_size < 2) return;
    this.beside = !this.beside;
    this.build();
  }

  async exclude() {
    const { sample } = this;
    let reason = "";
    if (!sample.excluded) {
      reason = prompt("Exclude this image: for what reason?", sample.leak || "excluded by hand");
      if (reason === null) return;
    }
    const answer = await ask("/api/exclude", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ id: sample.id, reason, excluded: !sample.excluded }),
    });
    sample.excluded = !sample.excluded;
    sample.reason = answer.reason;
    this.build();
    this.onExclude(sample, answer.excluded);
  }

  factParts() {
    const { sample } = this;
    const record = sample.record || {};
    const parts = [];
    if (sample.error) parts.push(make("p", { class: "bad" }, sample.error));
    if (sample.reason) parts.push(make("p", { class: "bad" }, `excluded: ${sample.reason}`));
    if (sample.leak) parts.push(make("p", { class: "bad" }, `leaks: is ${sample.leak}`));
    for (const fault of sample.faults) parts.push(make("p", { class: "bad text" }, fault));
    for (const entry of sample.quarantine) parts.push(make("p", { class: "bad text" }, `not stored (${entry.level}): ${entry.reason}`));
    const info = record.image || {};
    parts.push(pairs({
      size: `${sample.width} × ${sample.height} px, ${info.mode || "?"}`,
      sensor: record.sensor, licence: record.licence, label: record.label, "re-encoded": info.reencoded,
      scene: info.parent, annotation: record.provenance?.annotation, "number": count(sample.row + 1),
    }));
    if (sample.answers.length) parts.push(make("h2", {}, "Answers"), ...sample.answers.map(answerCard));
    parts.push(...this.legend());
    if (sample.group_size > 1) parts.push(...this.members());
    parts.push(...list("Captions", record.captions));
    parts.push(...list("Questions", (record.questions || []).map((item) => `${item.question} – ${item.answer}`)));
    parts.push(...list("Expressions", (record.expressions || []).map((item) => `${item.text} (object ${item.object})`)));
    for (const dialogue of record.dialogues || []) {
      const turns = (dialogue.turns || []).map((turn) => make("p", { class: "turn" }, make("b", {}, `${turn.from} `), make("span", { class: "text" }, turn.value)));
      parts.push(make("details", {}, make("summary", {}, `dialogue: ${dialogue.task}`), ...turns));
    }
    parts.push(make("details", {}, make("summary", {}, "record"), make("code", { class: "text" }, JSON.stringify(record, null, 1))));
    return parts.filter(Boolean);
  }

  legend() {
    const classes = new Map();
    for (const box of this.sample.boxes || []) {
      const known = classes.get(box.name) || { colour: box.colour, number: 0 };
      classes.set(box.name, { ...known, number: known.number + 1 });
    }
    if (!classes.size) return [];
    const keys = [...classes].map(([name, { colour, number }]) => make("button", { title: "show or hide", "aria-pressed": String(!this.hidden.has(name)), onclick: (event) => {
      if (!this.hidden.delete(name)) this.hidden.add(name);
      event.currentTarget.setAttribute("aria-pressed", String(!this.hidden.has(name)));
      this.redraw();
    } }, make("span", { class: "dot", colour }), `${name} ${number}`));
    return [make("h2", {}, "Objects"), make("div", { class: "legend" }, ...keys)];
  }

  members() {
    const cards = this.sample.group.map((row) => make("button", { title: row.name, onclick: () => this.show(`/api/sample?row=${row.row}`) },
      small(this.image(row.row, true), row.width, row.height, [], row.name), row.name));
    const more = this.sample.group_size - this.sample.group.length;
    return [make("h2", {}, `Copies: a group of ${this.sample.group_size}`), make("div", { class: "members" }, ...cards), more > 0 && make("p", {}, `and ${count(more)} more`)];
  }
}

function answerCard(answer) {
  const line = (name, text) => make("p", {}, make("b", {}, `${name} `), make("span", { class: "text" }, text || "(nothing)"));
  return make("div", { class: "answer-card" },
    make("span", { class: "chip" }, answer.task), make("span", { class: "chip" }, `score ${answer.score.toFixed(2)}`),
    ...answer.failures.map((reason) => make("span", { class: "chip bad" }, reason.replaceAll("_", " "))),
    line("asked", answer.prompt), line("true", answer.truth), line("answer", answer.text));
}

function pairs(values) {
  const rows = Object.entries(values).filter(([, value]) => value);
  return make("dl", {}, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", { class: "text" }, value)]));
}

function list(title, texts) {
  if (!texts?.length) return [];
  return [make("h2", {}, title), make("ul", {}, ...texts.map((text) => make("li", { class: "text" }, text)))];
}
