/**
 * The tree of the topics that have been seen, with what was last said on each.
 *
 * Bounded: at most `TOPICS_LIMIT` topics, `NODES_LIMIT` levels, and short texts only. What does not fit is not
 * listed, and `unlisted` says that there is some. Every node has counts of its own and of what is beneath it.
 */

import { Meter } from "./meter.js";
import { oneLine } from "./values.js";

export const TOPICS_LIMIT = 5000;
const NODES_LIMIT = 20_000;
const TOPIC_LENGTH_LIMIT = 1000;
const PREVIEW_LENGTH = 80;

/** Levels down to which a new node shows its children. */
const OPEN_DEPTH = 4;

const inOrder = new Intl.Collator("en", { numeric: true });

export class TopicNode {
  constructor(name, parent) {
    this.name = name;
    this.parent = parent;
    this.depth = parent ? parent.depth + 1 : 0;
    this.path = parent?.parent ? `${parent.path}/${name}` : name;
    this.children = [];
    this.open = this.depth < OPEN_DEPTH;
    /** Whether messages came on just this topic, and how many topics there are from here down. */
    this.isTopic = false;
    this.topics = 0;
    this.preview = "";
    /** When the last message came, here or beneath, in seconds; null when it is older than this page. */
    this.lastAt = null;
    /** Rises with each message, here or beneath. */
    this.version = 0;
    this.meter = null;
  }

  /** The filter that stands for this node: itself where it is a topic without others beneath, else all of it. */
  get filter() {
    if (!this.parent) return "#";
    return this.children.length ? `${this.path}/#` : this.path;
  }
}

export class TopicTree {
  constructor() {
    this.clear();
  }

  clear() {
    this.root = new TopicNode("", null);
    this.unlisted = 0;
    /** Rises when nodes come or go. */
    this.shape = (this.shape ?? 0) + 1;
    this.#retained = new Set();
    this.#retainedSince = new Set();
    this.#byTopic = new Map();
    this.#children = new Map([[this.root, new Map()]]);
  }

  #retained;
  #retainedSince;
  #byTopic;
  #children;

  /** Take in one message. `second` is the running second, or null for one from before this page was opened. */
  add(envelope, payload, second) {
    const node = this.#byTopic.get(envelope.topic) ?? this.#insert(envelope.topic);
    if (node) {
      node.preview = oneLine(payload, PREVIEW_LENGTH);
      if (envelope.retained && second !== null) {
        this.#retained.add(envelope.topic);
        this.#retainedSince.add(envelope.topic);
      }
    } else {
      this.unlisted += 1;
    }
    for (let above = node ?? this.root; above; above = above.parent) {
      above.version += 1;
      if (second === null) continue;
      above.lastAt = second;
      (above.meter ??= new Meter()).add(second);
    }
  }

  /** Begin to learn which topics have a retained message: those that come by from now on count in any case. */
  askRetained() {
    this.#retainedSince = new Set();
  }

  /** Take these for the topics that had a retained message when that was asked. */
  setRetained(topics) {
    this.#retained = new Set([...topics, ...this.#retainedSince]);
  }

  /** Take note that the retained message of a topic has been cleared. */
  cleared(topic) {
    this.#retained.delete(topic);
    this.#retainedSince.delete(topic);
  }

  hasRetained(topic) {
    return this.#retained.has(topic);
  }

  /** Return the nodes that show, in order: those under open ones, or with `wanted` those on the way to a match. */
  rows(wanted = "") {
    const rows = [this.root];
    if (wanted) collectMatches(this.root, wanted.toLowerCase(), rows);
    else collectOpen(this.root, rows);
    return rows;
  }

  #insert(topic) {
    const levels = topic.split("/");
    const full = this.root.topics >= TOPICS_LIMIT || this.#children.size + levels.length > NODES_LIMIT;
    if (full || topic.length > TOPIC_LENGTH_LIMIT) return null;
    let node = this.root;
    for (const level of levels) node = this.#children.get(node).get(level) ?? this.#grow(node, level);
    this.#byTopic.set(topic, node);
    node.isTopic = true;
    for (let above = node; above; above = above.parent) above.topics += 1;
    this.shape += 1;
    return node;
  }

  #grow(parent, level) {
    const node = new TopicNode(level, parent);
    this.#children.get(parent).set(level, node);
    this.#children.set(node, new Map());
    parent.children.splice(placeOf(level, parent.children), 0, node);
    return node;
  }
}

function placeOf(name, nodes) {
  let low = 0;
  let high = nodes.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (inOrder.compare(nodes[middle].name, name) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function collectOpen(node, rows) {
  if (!node.open) return;
  for (const child of node.children) {
    rows.push(child);
    collectOpen(child, rows);
  }
}

/** Add the matches beneath `node`, each with the way to it and all that is under it. Return whether there were any. */
function collectMatches(node, wanted, rows) {
  const before = rows.length;
  for (const child of node.children) {
    const place = rows.length;
    rows.push(child);
    const here = child.path.toLowerCase().includes(wanted);
    const beneath = collectMatches(child, wanted, rows);
    if (!here && !beneath) rows.length = place;
  }
  return rows.length > before;
}
