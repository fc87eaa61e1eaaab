/**
 * The topic tree on the page: an ARIA tree of which only the rows in sight exist.
 *
 * Rows are recycled, so that five thousand topics cost what forty do; the tree keeps the keyboard focus itself and
 * points at the active row with `aria-activedescendant`.
 */

import { element, icon, pin, reducedMotion, setText } from "./elements.js";
import { sparkline } from "./meter.js";
import { ago, count, plural, rate } from "./words.js";

const SPARK_WIDTH = 36;
const SPARK_HEIGHT = 14;
const OVERSCAN_ROWS = 6;
const NAME_LENGTH_LIMIT = 200;

/** Above this rate a value is read as moving anyway: it does not flash. */
const FLASH_RATE_LIMIT = 3;

/** Below this rate, how long ago says more than how often. */
const SHOWN_RATE = 0.5;

export class TreeView {
  /** `onSelect(node)` is called when somebody chooses a node. */
  constructor(container, tree, onSelect) {
    this.#container = container;
    this.#tree = tree;
    this.#onSelect = onSelect;
    this.#canvas = element("div", "tree-canvas");
    this.#canvas.role = "presentation";
    container.append(this.#canvas);
    container.addEventListener("scroll", () => this.paint());
    container.addEventListener("click", (event) => this.#clicked(event));
    container.addEventListener("keydown", (event) => this.#pressed(event));
    new ResizeObserver(() => this.paint()).observe(container);
  }

  #container;
  #tree;
  #onSelect;
  #canvas;
  #slots = [];
  #rows = [];
  #shape = -1;
  #wanted = "";
  #active = null;
  #selected = "#";
  #second = 0;

  get rowCount() {
    return this.#rows.length;
  }

  /** Show only what contains this text, with the way to it. */
  search(wanted) {
    this.#wanted = wanted.trim();
    this.#reshape();
  }

  /** Mark the node of this filter as the chosen one. */
  mark(filter) {
    this.#selected = filter;
    this.paint();
  }

  /** Bring what is in sight up to date; `second` is the running second. */
  paint(second = this.#second) {
    this.#second = second;
    if (this.#shape !== this.#tree.shape) this.#collect();
    const height = this.#rowHeight();
    const first = Math.max(0, Math.floor(this.#container.scrollTop / height) - OVERSCAN_ROWS);
    const inSight = Math.ceil(this.#container.clientHeight / height) + 2 * OVERSCAN_ROWS;
    const shown = Math.min(inSight, this.#rows.length - first);
    while (this.#slots.length < shown) this.#slots.push(new Slot(this.#canvas, this.#slots.length));
    let active = "";
    this.#slots.forEach((slot, i) => {
      const node = i < shown ? this.#rows[first + i] : null;
      const retained = node !== null && node.isTopic && this.#tree.hasRetained(node.path);
      slot.show(node, (first + i) * height, second, this.#wanted !== "", retained);
      if (!node) return;
      slot.row.setAttribute("aria-selected", String(node.filter === this.#selected));
      slot.row.classList.toggle("active", node === this.#active);
      if (node === this.#active) active = slot.row.id;
    });
    if (active) this.#container.setAttribute("aria-activedescendant", active);
    else this.#container.removeAttribute("aria-activedescendant");
  }

  #reshape() {
    this.#shape = -1;
    this.paint();
  }

  #collect() {
    this.#shape = this.#tree.shape;
    this.#rows = this.#tree.rows(this.#wanted);
    if (!this.#rows.includes(this.#active)) this.#active = this.#rows[0];
    this.#canvas.style.height = `${this.#rows.length * this.#rowHeight()}px`;
  }

  #rowHeight() {
    return Number.parseFloat(getComputedStyle(this.#container).getPropertyValue("--row-height"));
  }

  #clicked(event) {
    const row = event.target.closest("[role=treeitem]");
    const node = row && this.#slots.find((slot) => slot.row === row).node;
    if (!node) return;
    this.#active = node;
    if (event.target.closest(".twist") && node.children.length) this.#toggle(node);
    else this.#choose(node);
  }

  #choose(node) {
    this.#onSelect(node);
    this.paint();
  }

  #toggle(node) {
    node.open = !node.open;
    this.#reshape();
  }

  // https://www.w3.org/WAI/ARIA/apg/patterns/treeview/#keyboardinteraction
  #pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.#rows.indexOf(this.#active);
    const node = this.#active;
    const page = Math.max(1, Math.floor(this.#container.clientHeight / this.#rowHeight()) - 1);
    const canTurn = node.children.length > 0 && !this.#wanted;
    const moves = {
      ArrowDown: () => this.#move(at + 1),
      ArrowUp: () => this.#move(at - 1),
      PageDown: () => this.#move(at + page),
      PageUp: () => this.#move(at - page),
      Home: () => this.#move(0),
      End: () => this.#move(this.#rows.length - 1),
      ArrowRight: () => (canTurn && !node.open ? this.#toggle(node) : node.children.length && this.#move(at + 1)),
      ArrowLeft: () => (canTurn && node.open ? this.#toggle(node) : this.#move(this.#rows.indexOf(node.parent))),
      Enter: () => this.#choose(node),
      " ": () => this.#choose(node),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
  }

  #move(to) {
    const place = Math.min(Math.max(to, 0), this.#rows.length - 1);
    this.#active = this.#rows[place];
    const height = this.#rowHeight();
    const highest = (place + 1) * height - this.#container.clientHeight;
    this.#container.scrollTop = Math.min(place * height, Math.max(highest, this.#container.scrollTop));
    this.paint();
  }
}

/** One row of the page, which shows now this node and now that. */
class Slot {
  constructor(canvas, number) {
    this.node = null;
    this.row = element("div", "tree-row");
    this.row.role = "treeitem";
    this.row.id = `tree-row-${number}`;
    this.#twist = element("span", "twist");
    this.#twist.append(icon("chevron"));
    this.#name = element("span", "tree-name");
    this.#preview = element("span", "tree-preview");
    this.#beat = element("span", "tree-beat");
    const spark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    spark.setAttribute("class", "spark");
    spark.setAttribute("viewBox", `0 0 ${SPARK_WIDTH} ${SPARK_HEIGHT}`);
    spark.setAttribute("aria-hidden", "true");
    this.#spark = document.createElementNS("http://www.w3.org/2000/svg", "path");
    spark.append(this.#spark);
    const mark = pin("has a retained message");
    mark.ariaHidden = "true"; // the label of the row says it
    this.row.append(this.#twist, this.#name, mark, this.#preview, spark, this.#beat);
    canvas.append(this.row);
  }

  #twist;
  #name;
  #preview;
  #beat;
  #spark;
  #version = 0;
  #drawn = -1;
  #indent = -1;

  show(node, top, second, allOpen, retained) {
    this.row.hidden = !node;
    const same = node === this.node;
    this.node = node;
    if (!node) return;
    const perSecond = node.meter?.rate(second) ?? 0;
    this.row.style.transform = `translateY(${top}px)`;
    if (!same) this.#dress(node);
    this.#describe(node, allOpen, retained);
    setText(this.#preview, node.isTopic ? node.preview : "");
    setText(this.#beat, beat(node, perSecond, second));
    this.row.classList.toggle("quiet", perSecond < SHOWN_RATE);
    if (!same || this.#drawn !== second) this.#draw(node, second);
    if (same && node.isTopic && node.version !== this.#version && perSecond < FLASH_RATE_LIMIT) this.#flash();
    this.#version = node.version;
  }

  /** Set what stays the same for as long as the slot shows this node. */
  #dress(node) {
    const name = node.parent ? node.name || "(empty)" : "All topics";
    this.#name.classList.toggle("nameless", node.parent !== null && node.name === "");
    this.#name.classList.toggle("root", node.parent === null);
    setText(this.#name, name.slice(0, NAME_LENGTH_LIMIT));
    this.row.title = node.parent ? node.path : "#";
    this.row.setAttribute("aria-level", String(node.depth + 1));
    if (this.#indent !== node.depth) this.row.style.setProperty("--depth", String(Math.min(node.depth, 12)));
    this.#indent = node.depth;
  }

  #describe(node, allOpen, retained) {
    const parent = node.parent;
    this.row.setAttribute("aria-setsize", String(parent?.children.length ?? 1));
    this.row.setAttribute("aria-posinset", String((parent?.children.indexOf(node) ?? 0) + 1));
    if (node.children.length) this.row.setAttribute("aria-expanded", String(allOpen || node.open));
    else this.row.removeAttribute("aria-expanded");
    this.row.classList.toggle("retained", retained);
    const beneath = node.children.length ? count(node.topics) : "";
    if (this.#name.dataset.beneath !== beneath) this.#name.dataset.beneath = beneath;
    const kept = retained ? "retained, " : "";
    const said = node.isTopic ? `, ${kept}${node.preview}` : `, ${plural(node.topics, "topic")}`;
    this.row.ariaLabel = `${this.#name.textContent}${said}`;
  }

  #draw(node, second) {
    this.#drawn = second;
    this.#spark.setAttribute("d", node.meter ? sparkline(node.meter.series(second), SPARK_WIDTH, SPARK_HEIGHT) : "");
  }

  #flash() {
    if (reducedMotion()) return;
    const accent = getComputedStyle(this.row).getPropertyValue("--accent");
    this.#preview.animate([{ color: accent }, {}], { duration: 900, easing: "ease-out" });
  }
}

/** Say how often where it is often, and how long ago where it is not. */
function beat(node, perSecond, second) {
  if (perSecond >= SHOWN_RATE) return `${rate(perSecond)}/s`;
  return node.lastAt === null ? "" : ago(second - node.lastAt);
}
