/** How numbers and times are said. Plain functions: values in, short texts out. */

const GROUPED = new Intl.NumberFormat("en");

export function count(number) {
  return GROUPED.format(number);
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** Say how many a second, in three digits or so: "0", "0.4", "12", "1.8k". */
export function rate(perSecond) {
  if (perSecond >= 10_000) return `${Math.round(perSecond / 1000)}k`;
  if (perSecond >= 1000) return `${(perSecond / 1000).toFixed(1)}k`;
  if (perSecond >= 9.95 || Number.isInteger(perSecond)) return String(Math.round(perSecond));
  return perSecond.toFixed(1);
}

/** Say how long ago, in the largest whole unit: "now", "4 s", "2 min", "3 h", "5 d". */
export function age(seconds) {
  if (seconds < 1) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** Say how long ago, so that it cannot be taken for a rate: "now", "4 s ago". */
export function ago(seconds) {
  return seconds < 1 ? "now" : `${age(seconds)} ago`;
}

/** Say how long something took: "0.4 s", "3.2 s", "48 s", "2 min". */
export function duration(seconds) {
  return seconds < 10 ? `${seconds.toFixed(1)} s` : age(seconds);
}

export function clock(date) {
  return date.toLocaleTimeString("en-GB");
}
