/**
 * The console: wires the parts of the page together.
 *
 * Two sessions run. The monitor reads every topic over one WebSocket and feeds the tree and the figures; the
 * stream reads what the reader of the page has chosen, over the face chosen, and is the one that can be dropped.
 */

import { byID, paced, setText } from "./elements.js";
import { FACES, problemOf } from "./faces.js";
import { hasWildcard, matches } from "./filters.js";
import { Meter, sparkline } from "./meter.js";
import { PublishBox } from "./publishbox.js";
import { clearRetained, readRetained } from "./retained.js";
import { Session } from "./session.js";
import { LANGUAGES, publishLines, subscribeLines } from "./snippets.js";
import { StreamView } from "./streamview.js";
import { TOPICS_LIMIT, TopicTree } from "./topics.js";
import { TreeView } from "./treeview.js";
import { payloadOf } from "./values.js";
import { clock, count, rate } from "./words.js";

/** Of a long log the monitor reads the end; retained messages come in any case. */
const MONITOR_SINCE = "last:10000";

/** How often values and countdowns move: as fast as they can be read, and no faster. */
const MOVING_PAINT_MS = 125;

const PAINT_PAUSE_MS = 100;
const SECOND_MS = 1000;
const COPIED_MS = 1500;

const STATES = {
  live: "Live",
  connecting: "Connecting",
  away: "Reconnecting",
  dropped: "Dropped",
  paused: "Paused",
  off: "Refused",
};

const meter = new Meter();
const tree = new TopicTree();
const treeView = new TreeView(byID("tree"), tree, (node) => choose(node));
const streamView = new StreamView({
  scroller: byID("scroller"),
  list: byID("messages"),
  jump: byID("jump"),
  outcome: byID("outcome"),
  onClear: clear,
});
const paintSoon = paced(paint, PAINT_PAUSE_MS);

let language = "curl";
let total = 0; // messages since the page was opened: not what the log had before
let skipped = 0;
let lastHeard = null;

const monitor = new Session({
  message(envelope, { earlier }) {
    tree.add(envelope, payloadOf(envelope), earlier ? null : runningSecond());
    if (!earlier) meter.add(runningSecond());
    if (!earlier || monitor.interruption) total += 1;
    if (!earlier && missedByStream(envelope.topic)) stream.interruption.meanwhile += 1;
    paintSoon();
  },
  gap(gap) {
    // Another log: what was last said on a topic is no longer what this one would answer.
    if (gap.reason === "epoch") tree.clear();
    if (gap.reason === "overflow") skipped += gap.dropped ?? 0;
  },
  interrupted: paintSoon,
  refused: (code, message) => showAway("The broker refuses to be watched.", `${message} (${code})`),
  changed: () => {
    if (monitor.state === "away") explainAbsence();
    // What brings one back brings back the other: neither waits out a delay of its own while the broker is there.
    if (monitor.state === "live" && stream.state === "away") stream.resume();
    if (monitor.state === "live") learnRetained();
    paintSoon();
  },
});

const stream = new Session({
  message(envelope, facts) {
    streamView.message(envelope, facts, stream.interruption);
    paintSoon();
  },
  gap: (gap) => streamView.gap(gap),
  interrupted: () => streamView.interrupted(stream),
  refused: (code, message) => showProblem(message, code),
  changed: () => {
    if (stream.state === "live" && monitor.state === "away") monitor.resume();
    paintSoon();
  },
});

const publishBox = new PublishBox({
  onEdit: () => paintSnippets(),
  hasRetained: (topic) => tree.hasRetained(topic),
  onClear: clear,
});

start();

function start() {
  readAddress();
  listen();
  choosePublishTopic();
  setText(byID("first-curl"), publishLines("curl", { origin: location.origin, ...publishBox.fields }));
  setLanguage("curl");
  show("stream");
  const options = { overflow: "latest", retained: true };
  monitor.start({ filter: "#", face: "websocket", since: MONITOR_SINCE, options });
  restart();
  setInterval(paintMoving, MOVING_PAINT_MS);
  setInterval(everySecond, SECOND_MS);
}

function runningSecond() {
  return Math.floor(performance.now() / 1000);
}

function missedByStream(topic) {
  const waiting = stream.interruption?.ended === null;
  return waiting && matches(stream.filter, topic);
}

// --- what the stream reads ---------------------------------------------------------------------------------------

/** Begin the stream afresh with what the fields say. */
function restart() {
  const filter = byID("filter").value;
  const face = document.querySelector("[name=face]:checked").value;
  showProblem("");
  streamView.clear();
  stream.start({ filter, face, since: byID("since").value });
  treeView.mark(filter);
  writeAddress();
  paintSnippets();
}

/** Read the topic, or all beneath it, that was chosen in the tree. */
function choose(node) {
  byID("filter").value = node.filter;
  if (node.isTopic) publishBox.propose(node.path);
  restart();
  show("stream");
}

function switchFace(face) {
  stream.switchTo(face);
  writeAddress();
  paintSnippets();
}

function togglePause() {
  if (stream.state === "live" || stream.state === "connecting") stream.pause();
  else if (stream.state === "off") restart();
  else stream.resume();
}

/** Mark the topics that have a retained message: the log alone does not say which are still there. */
async function learnRetained() {
  tree.askRetained();
  const topics = await readRetained();
  if (topics) tree.setRetained(topics);
}

async function clear(topic) {
  const problem = await clearRetained(topic);
  if (problem) publishBox.fail(problem.code, problem.detail);
  else {
    tree.cleared(topic);
    publishBox.cleared(topic);
    publishBox.paintKept();
  }
}

/** The address of the page says what it shows, so that it can be reloaded and passed on. */
function writeAddress() {
  const parameters = new URLSearchParams({ filter: stream.filter, face: stream.face, since: stream.since });
  history.replaceState(null, "", `?${parameters}`);
}

function readAddress() {
  const parameters = new URLSearchParams(location.search);
  const face = parameters.get("face");
  if (parameters.get("filter")) byID("filter").value = parameters.get("filter");
  if (Object.hasOwn(FACES, face)) document.querySelector(`[name=face][value=${face}]`).checked = true;
  const since = [...byID("since").options].find((option) => option.value === parameters.get("since"));
  if (since) since.selected = true;
}

function choosePublishTopic() {
  const filter = byID("filter").value;
  publishBox.propose(hasWildcard(filter) ? "site/kitchen/temp" : filter);
}

// --- what shows --------------------------------------------------------------------------------------------------

function paint() {
  const state = overallState();
  byID("state").dataset.state = state;
  setText(byID("state-text"), STATES[state]);
  setText(byID("version"), monitor.version);
  if (!("copied" in byID("cursor").dataset)) setText(byID("cursor"), monitor.cursor ?? "–");
  setText(byID("total"), count(total));
  if (monitor.state === "live") {
    lastHeard = new Date();
    byID("away").hidden = true;
  }
  paintStream();
}

function paintStream() {
  const face = FACES[stream.face].name;
  const texts = {
    live: `Live over ${face}`,
    connecting: `Connecting over ${face}`,
    away: "Connection lost, coming back",
    dropped: "Dropped",
    paused: "Paused",
    off: "Not subscribed",
  };
  setText(byID("stream-state"), texts[stream.state]);
  setText(byID("stream-cursor"), stream.cursor ?? "");
  byID("panel-stream").dataset.state = stream.state;
  byID("drop").disabled = stream.state !== "live";
  const runs = stream.state === "live" || stream.state === "connecting";
  setText(byID("pause").querySelector("span"), runs ? "Pause" : "Resume");
  byID("pause").querySelector("use").setAttribute("href", runs ? "#icon-pause" : "#icon-play");
  streamView.updateSeam();
  const nothingYet = stream.received === 0 && stream.interruption === null && stream.state === "live";
  const firstRun = nothingYet && monitor.state === "live" && monitor.received === 0;
  byID("first-run").hidden = !firstRun;
  byID("listening").hidden = !nothingYet || firstRun;
  setText(byID("listening"), `Listening to ${stream.filter.slice(0, 200)} over ${face}. Nothing has come yet.`);
}

function overallState() {
  if (monitor.state !== "live") return monitor.state;
  return stream.state === "off" ? "live" : stream.state;
}

function paintMoving() {
  treeView.paint(runningSecond());
  streamView.updateSeam();
}

function everySecond() {
  const second = runningSecond();
  setText(byID("rate"), rate(meter.rate(second)));
  byID("rate-spark").setAttribute("d", sparkline(meter.series(second), 60, 16));
  streamView.everySecond();
  publishBox.paintKept();
  paintTreeNotes();
  paintAbsence();
  paint();
}

function paintTreeNotes() {
  const topics = tree.root.topics;
  setText(byID("topics-count"), topics ? count(topics) : "");
  const notes = [];
  if (!topics) notes.push("Topics appear here when something is published to them.");
  else if (treeView.rowCount === 1) notes.push("No topic has that in its name.");
  if (tree.unlisted) notes.push(`There are more: ${count(TOPICS_LIMIT)} are listed at most, and the stream reads any.`);
  if (skipped) notes.push(`${count(skipped)} messages were not counted, as this page did not keep up.`);
  setText(byID("tree-note"), notes.join(" "));
  byID("tree-note").hidden = notes.length === 0;
}

function paintSnippets() {
  const origin = location.origin;
  const { filter, since } = stream;
  setText(byID("snippet-subscribe"), subscribeLines(language, { origin, filter, since }));
  setText(byID("snippet-publish"), publishLines(language, { origin, ...publishBox.fields }));
}

function showProblem(message, code = "") {
  byID("filter-problem").hidden = message === "";
  setText(byID("filter-problem"), code ? `${message} (${code})` : message);
  byID("filter").setAttribute("aria-invalid", String(message !== ""));
}

// --- a broker that is away ---------------------------------------------------------------------------------------

/** Find out why the monitor has no connection: a page is told nothing of why a WebSocket fails. */
async function explainAbsence() {
  let text;
  try {
    const response = await fetch("/readyz", { cache: "no-store" });
    if (response.ok) text = "It answers HTTP but not WebSocket: a proxy in between may not pass upgrades on.";
    else text = `It says: ${(await problemOf(response)).detail}.`;
  } catch {
    text = "It does not answer.";
  }
  if (monitor.state !== "live") showAway(`The broker at ${location.host} is away.`, text);
}

function showAway(title, text) {
  const seen = lastHeard ? ` What you see is as of ${clock(lastHeard)}.` : "";
  setText(byID("away-title"), title);
  setText(byID("away-text"), text + seen);
  byID("away").hidden = false;
  paintAbsence();
}

function paintAbsence() {
  const left = monitor.returns === null ? 0 : Math.ceil((monitor.returns - performance.now()) / 1000);
  setText(byID("away-retry"), left > 0 ? `Resume (${left} s)` : "Resume");
}

// --- what is clicked ---------------------------------------------------------------------------------------------

function listen() {
  byID("stream-form").addEventListener("submit", (event) => event.preventDefault()); // `change` has seen to it
  byID("filter").addEventListener("change", restart);
  byID("since").addEventListener("change", restart);
  for (const radio of document.querySelectorAll("[name=face]")) {
    radio.addEventListener("change", () => switchFace(radio.value));
  }
  byID("pause").addEventListener("click", togglePause);
  byID("drop").addEventListener("click", () => stream.drop(Number(byID("drop-seconds").value)));
  byID("topics-search").addEventListener("input", (event) => treeView.search(event.target.value));
  byID("sample").addEventListener("click", () => publishBox.sample());
  byID("cursor").addEventListener("click", () => copy(byID("cursor").textContent, byID("cursor")));
  byID("away-retry").addEventListener("click", () => {
    monitor.resume();
    stream.resume();
  });
  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", () => copy(byID(button.dataset.copies).textContent, button.querySelector("span")));
  }
  for (const button of document.querySelectorAll(".views button")) {
    button.addEventListener("click", () => show(button.dataset.view));
  }
  for (const tab of languageTabs()) tab.addEventListener("click", () => setLanguage(tab.dataset.language));
  document.querySelector("[role=tablist]").addEventListener("keydown", turnTabs);
}

/** On a narrow screen one part shows at a time: this one. */
function show(view) {
  document.body.dataset.view = view;
  for (const button of document.querySelectorAll(".views button")) {
    button.setAttribute("aria-current", String(button.dataset.view === view));
  }
  treeView.paint();
}

function languageTabs() {
  return [...document.querySelectorAll("[role=tab]")];
}

function setLanguage(wanted) {
  language = wanted;
  for (const tab of languageTabs()) {
    const chosen = tab.dataset.language === wanted;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
  }
  byID("snippet-panel").setAttribute("aria-labelledby", `tab-${wanted}`);
  paintSnippets();
}

function turnTabs(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  const languages = Object.keys(LANGUAGES);
  const next = languages.at((languages.indexOf(language) + step) % languages.length);
  setLanguage(next);
  byID(`tab-${next}`).focus();
}

async function copy(text, label) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyBySelection(text); // a page that is not on HTTPS or loopback has no clipboard
  }
  if ("copied" in label.dataset) return;
  const before = label.textContent;
  label.dataset.copied = "";
  label.textContent = "Copied";
  setTimeout(() => {
    delete label.dataset.copied;
    label.textContent = before;
  }, COPIED_MS);
}

function copyBySelection(text) {
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}
