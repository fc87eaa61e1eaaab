/**
 * The list of what a session brought, oldest first, as a log is read.
 *
 * Bounded to `ROWS_LIMIT` rows: the oldest go. A row begins as an empty one of the right height, and gets its content
 * when it comes in sight or when there is time: at thousands of messages a second most rows are gone before anybody
 * could have seen them. At 2,000 a second filling every row left 10 frames a second, this leaves 52 (Chromium 156,
 * no GPU, two cores).
 */

import { element, icon, paced, pin, reducedMotion, setText } from "./elements.js";
import { FACES } from "./faces.js";
import { Excerpt, indented, oneLine, payloadOf, tokens } from "./values.js";
import { age, clock, count, duration, plural } from "./words.js";

export const ROWS_LIMIT = 500;

const PREVIEW_LENGTH = 220;
const BODY_LENGTH = 20_000;

/** A larger message keeps the beginning of its payload only: five hundred of these are what the list holds at most. */
const WHOLE_LENGTH = 65_536;
const SHORTENED_LENGTH = 2000;

/** Within so many pixels of the end the list follows what comes. */
const FOLLOW_PX = 40;

/** Rows are filled so far beyond what is in sight. */
const MARGIN_PX = 300;

const FLUSH_PAUSE_MS = 100;

/** With fewer new rows in a second than this, there is time to fill the rest. */
const QUIET_ROWS = 100;

export class StreamView {
  /**
   * `list` scrolls inside `scroller`; `jump` is the button that goes back to the end; `outcome` says what became of the
   * newest interruption while its row is out of sight. `onClear(topic)` is called to clear a retained message.
   */
  constructor({ scroller, list, jump, outcome, onClear }) {
    this.#scroller = scroller;
    this.#list = list;
    this.#jump = jump;
    this.#outcome = outcome;
    this.#onClear = onClear;
    this.#sight = new IntersectionObserver((seen) => this.#seamSeen(seen.at(-1)), { root: scroller });
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    // A `toggle` does not bubble, but it can be captured.
    list.addEventListener("toggle", (event) => this.#toggled(event.target), true);
    list.addEventListener("click", (event) => this.#clicked(event.target));
    jump.addEventListener("click", () => this.follow());
    new ResizeObserver(() => this.#resized()).observe(scroller);
  }

  #scroller;
  #list;
  #jump;
  #outcome;
  #onClear;
  #sight;
  #queue = [];
  #entries = new WeakMap();
  #empty = new Set();
  #ages = new Map();
  #flushed = 0;
  #seam = null;
  #seamInSight = true;
  #following = true;
  #height = 0;
  #unseen = 0;
  #flushSoon = paced(() => this.#flush(), FLUSH_PAUSE_MS);

  clear() {
    this.#queue.length = 0;
    this.#empty.clear();
    this.#ages.clear();
    this.#seam = null;
    this.#sight.disconnect();
    this.#showOutcome();
    this.#list.replaceChildren();
    this.follow();
  }

  message(envelope, { earlier, face, size }, interruption) {
    const whole = size <= WHOLE_LENGTH;
    const payload = payloadOf(envelope);
    this.#push({
      topic: envelope.topic,
      offset: envelope.offset,
      properties: whole ? propertiesOf(envelope) : {},
      payload: whole ? payload : new Excerpt(payload, SHORTENED_LENGTH),
      note: whole ? "" : `\n${plural(Math.round(size), "character")} in all: too long to be kept here`,
      earlier,
      replayed: earlier && interruption !== null,
      face: FACES[face].name,
      retained: envelope.retained === true,
      at: new Date(),
    });
  }

  gap(gap) {
    this.#push({ gap });
  }

  interrupted(session) {
    this.#push({ seam: new Seam(session) });
  }

  /** Bring the newest interruption up to date. */
  updateSeam() {
    this.#seam?.update();
    this.#showOutcome();
  }

  /** Bring the ages up to date, and fill what is out of sight if there is time. */
  everySecond() {
    const now = Date.now();
    for (const [cell, at] of this.#ages) setText(cell, quietAge((now - at) / 1000));
    if (this.#flushed < QUIET_ROWS) for (const row of this.#empty) this.#fill(row);
    this.#flushed = 0;
  }

  /** Go to the end, and stay there. */
  follow() {
    this.#following = true;
    this.#unseen = 0;
    this.#showJump();
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #push(entry) {
    this.#queue.push(entry);
    // Frames do not come while the page is hidden: what would be off the list by then can go now.
    if (this.#queue.length > 2 * ROWS_LIMIT) this.#queue.splice(0, ROWS_LIMIT);
    this.#flushSoon();
  }

  #flush() {
    const entries = this.#queue.splice(0).slice(-ROWS_LIMIT);
    const rows = document.createDocumentFragment();
    for (const entry of entries) rows.append(this.#row(entry));
    const over = this.#list.childElementCount + entries.length - ROWS_LIMIT;
    for (let i = 0; i < over; i++) this.#forget(this.#list.firstElementChild);
    this.#list.append(rows);
    this.#flushed += entries.length;
    if (this.#following) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    else this.#unseen += entries.length;
    this.#showJump();
    this.#fillInSight();
  }

  #row(entry) {
    if (entry.seam) {
      this.#seam?.update(); // for the last time
      this.#seam = entry.seam;
      this.#seam.update();
      this.#seamInSight = true; // until the observer says otherwise
      this.#sight.disconnect();
      this.#sight.observe(this.#seam.row);
      return this.#seam.row;
    }
    if (entry.gap) {
      const row = element("li", "seam warning");
      row.append(icon("gap"), element("p", "seam-text", gapText(entry.gap)));
      return row;
    }
    const row = element("li", entry.replayed ? "message replayed" : "message");
    this.#entries.set(row, entry);
    this.#empty.add(row);
    return row;
  }

  #forget(row) {
    this.#empty.delete(row);
    this.#ages.delete(row.querySelector(".age"));
    row.remove();
  }

  #fillInSight() {
    if (this.#empty.size === 0) return;
    const top = this.#scroller.scrollTop - MARGIN_PX;
    const bottom = this.#scroller.scrollTop + this.#scroller.clientHeight + MARGIN_PX;
    const inSight = [...this.#empty].filter((row) => row.offsetTop < bottom && row.offsetTop + row.offsetHeight > top);
    for (const row of inSight) this.#fill(row);
  }

  #fill(row) {
    this.#empty.delete(row);
    const { topic, offset, payload, retained, earlier, replayed, at } = this.#entries.get(row);
    const details = element("details");
    const summary = element("summary");
    const ageCell = element("span", "age", replayed ? "replayed" : earlier ? "earlier" : quietAge((Date.now() - at) / 1000));
    ageCell.title = earlier ? "published before this connection asked for it" : clock(at);
    if (!earlier) this.#ages.set(ageCell, at.getTime());
    summary.append(
      element("span", "offset", String(offset)),
      topicCell(topic, retained),
      valueCell(payload),
      ageCell,
    );
    details.append(summary);
    row.append(details);
  }

  #toggled(details) {
    if (!details.open || details.childElementCount > 1) return;
    details.append(bodyOf(this.#entries.get(details.parentElement)));
    details.scrollIntoView({ block: "nearest" });
  }

  #clicked(target) {
    const button = target.closest(".clear");
    if (button) this.#onClear(this.#entries.get(button.closest(".message")).topic, button);
  }

  #seamSeen(entry) {
    this.#seamInSight = entry.isIntersecting;
    this.#showOutcome();
  }

  #showOutcome() {
    const seam = this.#seam;
    this.#outcome.hidden = seam === null || this.#seamInSight;
    if (this.#outcome.hidden) return;
    this.#outcome.className = `outcome ${seam.tone}`;
    const mark = { open: "cut", warning: "gap" }[seam.tone] ?? "check";
    this.#outcome.querySelector("use").setAttribute("href", `#icon-${mark}`);
    setText(this.#outcome.querySelector("strong"), seam.title);
    setText(this.#outcome.querySelector("span"), seam.brief);
  }

  #resized() {
    this.#height = this.#scroller.clientHeight;
    if (this.#following) this.follow();
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    // Less height is less of the end in sight, and not somebody who scrolls: what follows goes on to.
    if (this.#following && clientHeight !== this.#height) return;
    this.#following = scrollHeight - scrollTop - clientHeight < FOLLOW_PX;
    if (this.#following) this.#unseen = 0;
    this.#showJump();
    this.#fillInSight();
  }

  #showJump() {
    this.#jump.hidden = this.#unseen === 0;
    setText(this.#jump.querySelector("span"), `${count(this.#unseen)} new`);
  }
}

/** The row that an interruption leaves in the list: first the wait, then what the resume brought. */
class Seam {
  constructor(session) {
    this.#session = session;
    this.#interruption = session.interruption;
    this.row = element("li", "seam open");
    this.#icon = element("span", "seam-icon");
    this.#icon.append(icon("cut"), icon("check"));
    const text = element("p", "seam-text");
    this.#title = element("strong");
    this.#detail = element("span");
    text.append(this.#title, " ", this.#detail);
    this.#button = element("button", "link", "Resume");
    this.#button.type = "button";
    this.#button.addEventListener("click", () => session.resume());
    this.#bar = element("span", "seam-bar");
    this.row.append(this.#icon, text, this.#button, this.#bar);
  }

  #session;
  #interruption;
  #icon;
  #title;
  #detail;
  #button;
  #bar;
  #returns = null;

  get title() {
    return this.#title.textContent;
  }

  /** What the row says beside the title, where there is less room. */
  get brief() {
    if (this.#interruption.ended === null) return this.#detail.textContent;
    const { replayed } = this.#interruption;
    return `${replayed ? `${count(replayed)} replayed` : "none missed"} · ${this.#verdict()}`;
  }

  /** "open" while the wait lasts, "warning" where something is missing, else "". */
  get tone() {
    return ["open", "warning"].find((tone) => this.row.classList.contains(tone)) ?? "";
  }

  update() {
    const session = this.#session;
    const { kind, at, resumedAt, ended, missing, twice } = this.#interruption;
    const open = ended === null;
    this.row.classList.toggle("open", open);
    this.row.classList.toggle("warning", missing || twice > 0);
    this.#button.hidden = !open || session.state === "connecting";
    const resumed = resumedAt === null ? "" : `, resumed at ${count(resumedAt)}`;
    setText(this.#title, `${opening(kind, FACES[session.face].name)} at offset ${count(at)}${resumed}`);
    setText(this.#detail, open ? waitText(this.#interruption, session) : this.#outcome());
    if (session.returns !== this.#returns) this.#runBar(session.returns);
  }

  #outcome() {
    const { kind, replayed } = this.#interruption;
    const away = `${duration(this.#interruption.seconds(performance.now()))} away`;
    const brought = replayed ? `${plural(replayed, "missed message")} replayed` : "no message missed";
    return [...(kind === "switched" ? [] : [away]), brought, this.#verdict()].join(" · ");
  }

  #verdict() {
    const { missing, twice } = this.#interruption;
    const lost = missing ? "not all of them: see the gap" : "nothing lost";
    const double = twice ? `${plural(twice, "message")} came twice` : "nothing twice";
    return `${lost}, ${double}`;
  }

  #runBar(returns) {
    this.#returns = returns;
    for (const animation of this.#bar.getAnimations()) animation.cancel();
    if (returns === null || reducedMotion()) return;
    const left = Math.max(0, returns - performance.now());
    this.#bar.animate([{ transform: "scaleX(1)" }, { transform: "scaleX(0)" }], { duration: left, fill: "both" });
  }
}

function opening(kind, face) {
  const texts = {
    dropped: "Dropped",
    paused: "Paused",
    switched: `Moved to ${face}`,
    slow: "Cut off for being slow",
    shutdown: "The broker shut down",
  };
  return texts[kind] ?? "Connection lost";
}

function waitText(interruption, session) {
  const meanwhile = interruption.meanwhile ? `${count(interruption.meanwhile)} published meanwhile` : "";
  return [comingBack(session), meanwhile].filter(Boolean).join(" · ");
}

function comingBack(session) {
  if (session.state === "connecting") return "resuming …";
  if (session.returns === null) return "until you resume";
  const verb = session.state === "away" ? "trying again" : "back";
  return `${verb} in ${Math.ceil(Math.max(0, session.returns - performance.now()) / 1000)} s`;
}

function gapText({ reason, after, until, dropped = 0 }) {
  if (reason === "epoch") return "Gap: the broker has begun a new log. What the old one had after this is gone.";
  if (reason === "overflow") return `Gap: ${plural(dropped, "message")} dropped, as this page did not keep up.`;
  const range = `after offset ${count(after)} and up to ${count(until)}`;
  return `Gap: messages ${range} are gone. Retention has evicted them; what is left follows.`;
}

/** What has just come needs no age: at twenty messages a second every row would have the same. */
function quietAge(seconds) {
  return seconds < 1 ? "" : age(seconds);
}

function topicCell(topic, retained) {
  const cell = element("span", "topic");
  cell.title = topic.slice(0, 1000);
  const cut = topic.lastIndexOf("/") + 1;
  // The end of a topic tells it from its neighbours: where there is no room, the start gives way.
  const parents = element("span", "topic-parents");
  parents.append(element("bdi", "", topic.slice(0, cut).slice(-200)));
  cell.append(parents, element("bdi", "topic-leaf", topic.slice(cut).slice(0, 200)));
  if (retained) cell.append(pin("published to be retained"));
  return cell;
}

function valueCell(payload) {
  const cell = element("span", "value");
  for (const [kind, text] of tokens(payload, PREVIEW_LENGTH)) cell.append(element("span", kind, text));
  return cell;
}

function bodyOf({ topic, properties, payload, retained, note, face, at }) {
  const body = element("div", "message-body");
  const facts = element("dl");
  const all = { topic: topic.slice(0, 2000), ...properties, received: `${clock(at)} over ${face}` };
  for (const [name, value] of Object.entries(all)) {
    const fact = element("div");
    fact.append(element("dt", "", name), element("dd", "", value));
    facts.append(fact);
  }
  if (retained) {
    const clear = element("button", "link clear", "Clear what is retained");
    clear.type = "button";
    facts.append(clear);
  }
  body.append(facts, element("pre", "", indented(payload, BODY_LENGTH) + note));
  return body;
}

function propertiesOf({ content_type, headers, expires_at, retained }) {
  return {
    ...(retained && { retained: "yes" }),
    ...(content_type && { "content type": content_type.slice(0, 200) }),
    ...(headers && { headers: oneLine(headers, 2000) }),
    ...(expires_at && { expires: clock(new Date(expires_at * 1000)) }),
  };
}
