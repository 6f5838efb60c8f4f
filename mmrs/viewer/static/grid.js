// A grid of any number of cards, of which only those near the window exist. A browser allows an element some millions
// of pixels, so the scrolled part is a segment of the rows that moves on when its end comes near.

const SEGMENT_LINES = 4000;
const BLOCK = 120;
const KEPT_BLOCKS = 60;

export class Grid {
  // fetchRows(offset, limit) -> {total, rows}; makeCard(row, index) -> element; onTotal(answer)
  constructor(scroller, { fetchRows, makeCard, onAnswer, onError }) {
    Object.assign(this, { scroller, fetchRows, makeCard, onAnswer, onError });
    this.inner = document.createElement("div");
    this.inner.className = "cells";
    scroller.replaceChildren(this.inner);
    this.cards = new Map();
    this.selected = 0;
    scroller.addEventListener("scroll", () => this.render());
    new ResizeObserver(() => this.layout()).observe(scroller);
    this.reset();
  }

  reset() {
    this.generation = (this.generation || 0) + 1;
    this.blocks = new Map();
    this.total = 0;
    this.firstLine = 0;
    this.selected = 0;
    this.clear();
    this.scroller.scrollTop = 0;
    return this.block(0);
  }

  // Rows from elsewhere in the place of these, which stay until those are there.
  takeOver(functions) {
    Object.assign(this, functions);
    this.generation++;
    this.blocks = new Map();
    this.total = 0;
    return this.block(0);
  }

  // The same question again, with what is seen kept in place.
  refresh() {
    this.generation++;
    this.blocks = new Map();
    this.clear();
    return this.total ? this.render() : this.block(0);
  }

  clear() {
    this.cards.clear();
    this.inner.replaceChildren();
  }

  layout() {
    const width = this.scroller.clientWidth;
    const wanted = width < 600 ? 150 : 210;
    const columns = Math.max(2, Math.floor(width / wanted));
    if (columns === this.columns && width === this.width) return;
    const first = this.firstVisible();
    Object.assign(this, { columns, width, side: Math.floor(width / columns) });
    this.line = this.side + 26;
    this.clear();
    this.goTo(first, false);
  }

  lines() {
    return Math.ceil(this.total / this.columns);
  }

  firstVisible() {
    return this.line ? (this.firstLine + Math.floor(this.scroller.scrollTop / this.line)) * this.columns : 0;
  }

  // Bring an image into the window.
  goTo(index, select = true) {
    const line = Math.floor(index / this.columns);
    this.firstLine = Math.max(0, Math.min(line - SEGMENT_LINES / 2, this.lines() - SEGMENT_LINES));
    this.size();
    this.scroller.scrollTop = (line - this.firstLine) * this.line;
    if (select) this.selected = index;
    this.render();
  }

  select(index) {
    this.selected = Math.min(Math.max(index, 0), Math.max(this.total - 1, 0));
    const top = (Math.floor(this.selected / this.columns) - this.firstLine) * this.line;
    const { scrollTop, clientHeight } = this.scroller;
    if (top < scrollTop) this.scroller.scrollTop = top;
    else if (top + this.line > scrollTop + clientHeight) this.scroller.scrollTop = top + this.line - clientHeight;
    this.render();
  }

  size() {
    const shown = Math.min(this.lines() - this.firstLine, SEGMENT_LINES);
    this.inner.style.height = `${Math.max(shown, 0) * (this.line || 1)}px`;
  }

  moveSegment() {
    const line = Math.floor(this.scroller.scrollTop / this.line);
    const seen = Math.ceil(this.scroller.clientHeight / this.line);
    let shift = 0;
    if (line + seen > SEGMENT_LINES - 200) shift = SEGMENT_LINES / 2;
    else if (line < 200 && this.firstLine > 0) shift = -SEGMENT_LINES / 2;
    const first = Math.max(0, Math.min(this.firstLine + shift, this.lines() - SEGMENT_LINES));
    if (shift === 0 || first === this.firstLine) return;
    const moved = first - this.firstLine;
    this.firstLine = first;
    this.clear();
    this.size();
    this.scroller.scrollTop -= moved * this.line;
  }

  render() {
    if (!this.line || !this.total) return;
    this.moveSegment();
    const line = this.firstLine + Math.floor(this.scroller.scrollTop / this.line);
    const seen = Math.ceil(this.scroller.clientHeight / this.line) + 1;
    const from = Math.max(0, line - 1) * this.columns;
    const to = Math.min(this.total, (line + seen + 1) * this.columns);
    for (const [index, card] of this.cards) {
      if (index < from || index >= to) {
        card.remove();
        this.cards.delete(index);
      }
    }
    for (let index = from; index < to; index++) {
      if (!this.cards.has(index)) this.place(index);
      this.cards.get(index)?.classList.toggle("selected", index === this.selected);
    }
  }

  place(index) {
    const rows = this.blocks.get(Math.floor(index / BLOCK));
    if (!Array.isArray(rows)) {
      if (!rows) this.block(Math.floor(index / BLOCK));
      return;
    }
    const row = rows[index % BLOCK];
    if (!row) return;
    const card = this.makeCard(row, index);
    const line = Math.floor(index / this.columns) - this.firstLine;
    card.style.transform = `translate(${(index % this.columns) * this.side}px, ${line * this.line}px)`;
    card.style.width = `${this.side}px`;
    card.style.height = `${this.line}px`;
    this.cards.set(index, card);
    this.inner.append(card);
  }

  row(index) {
    const rows = this.blocks.get(Math.floor(index / BLOCK));
    return Array.isArray(rows) ? rows[index % BLOCK] : undefined;
  }

  // The row of an index, fetched where it is not here.
  async rowAt(index) {
    if (!this.row(index)) await this.block(Math.floor(index / BLOCK));
    return this.row(index);
  }

  async block(number) {
    const generation = this.generation;
    if (this.blocks.get(number) instanceof Promise) return this.blocks.get(number);
    const fetched = this.fetchRows(number * BLOCK, BLOCK).then(
      (answer) => {
        if (generation !== this.generation) return;
        this.blocks.delete(number);
        this.blocks.set(number, answer.rows);
        while (this.blocks.size > KEPT_BLOCKS) this.blocks.delete(this.blocks.keys().next().value);
        if (answer.total !== this.total) {
          this.total = answer.total;
          this.clear();
          this.size();
        }
        this.onAnswer(answer);
        this.render();
      },
      (error) => {
        if (generation === this.generation) {
          this.blocks.delete(number);
          this.onError(error);
        }
      },
    );
    this.blocks.set(number, fetched);
    return fetched;
  }
}
