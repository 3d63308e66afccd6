
"use strict";
// Everything that the daemon reports is text, and clients write some of it. It enters the page only
// as text nodes, by `el` and `svg`: never as innerHTML, styles or links.

const POLL_MS = 1000;
const TIMEOUT_MS = 5000;
// The time that a chart covers, in seconds: as long as there are totals, within these bounds.
const SHOWN_S = 300;
const SHOWN_MIN_S = 60;
const WIDTH = 300;
// Rows of metrics: at first, then after each press of the button. The last is the limit of the API.
const METRICS_SHOWN = [10, 50, 200, 1000];
const MESSAGES_SHOWN = 20;
// Notices above the charts; the others are folded.
const NOTICES_SHOWN = 4;
// The reasons for dropped points that an operator intended.
const INTENDED = ["debug_mode", "removed"];

const place = (id) => document.getElementById(id);

function el(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function svg(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// ---- Numbers and times as people read them ----

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const count = (n) => whole.format(n);

function short(n) {
  const abs = Math.abs(n);
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (abs >= size) return digits(n / (unit === "k" ? 1e3 : size)) + " " + unit;
  }
  return abs >= 100 || Number.isInteger(n) ? count(n) : digits(n);
}

const digits = (n) => String(Number(n.toPrecision(3)));
// Hundredths are precise enough for shares and milliseconds.
const hundredths = (n) => digits(Math.round(n * 100) / 100);

function bytes(n) {
  if (n === null || n === undefined) return "unknown";
  let unit = 0;
  while (n >= 1024 && unit < 4) { n /= 1024; unit += 1; }
  return `${digits(n)} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
}

function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = units.findIndex(([size]) => s >= size);
  const [[large, unit], [small, next]] = units.slice(first, first + 2);
  const rest = Math.floor(s % large / small);
  return `${Math.floor(s / large)} ${unit}${rest > 0 ? ` ${rest} ${next}` : ""}`;
}

// The time of day of a timestamp from the daemon. It is not compared with the browser's clock,
// which may differ.
const clock = (time) => new Date(time).toLocaleTimeString("en-GB");
const sum = (counts) => Object.values(counts).reduce((total, n) => total + n, 0);
const lost = (dropped) => sum(dropped) - INTENDED.reduce((n, reason) => n + (dropped[reason] || 0), 0);

// ---- The last minutes ----

// Totals as /api/v1/history has them, the oldest first.
let totals = [];
let interval = 10;
let instance = null;

function totalsOf(status) {
  const forwarders = Object.values(status.forwarders);
  const over = (of) => forwarders.reduce((total, forwarder) => total + of(forwarder), 0);
  return {
    uptime_s: status.uptime_s,
    received: status.ledger.received,
    rejected: sum(status.ledger.rejected),
    kernel_drops: status.ledger.kernel_drops,
    delivered: over((one) => one.delivered),
    dropped: over((one) => lost(one.dropped)),
    waiting: over((one) => one.queued + one.spooled),
  };
}

function remember(now) {
  // A rate over next to no time would be noise.
  while (totals.length > 1 && now.uptime_s - totals[totals.length - 1].uptime_s < .5) totals.pop();
  totals.push(now);
  const since = now.uptime_s - SHOWN_S - interval - 2;
  while (totals.length > 2 && totals[0].uptime_s < since) totals.shift();
}

// The growth a second of a total, from each of its values to the next. One falls when a reload removes
// a destination.
function growth(of, from, to) {
  return Math.max(0, of(to) - of(from));
}

function rate(of) {
  return totals.slice(1).map((now, before) => {
    const seconds = now.uptime_s - totals[before].uptime_s;
    return { at: now.uptime_s, value: growth(of, totals[before], now) / seconds };
  });
}

// The same over a window's length: points come once in a window, all at a time.
function rateByWindow(of) {
  const points = [];
  let from = 0;
  for (let to = 1; to < totals.length; to += 1) {
    const now = totals[to];
    while (from + 1 < to && totals[from + 1].uptime_s <= now.uptime_s - interval) from += 1;
    const seconds = Math.max(interval, now.uptime_s - totals[from].uptime_s);
    points.push({ at: now.uptime_s, value: growth(of, totals[from], now) / seconds });
  }
  // A window that ends during a poll is in one of these twice, or not at all.
  return points.map((point, index) => ({ at: point.at, value: median(points.slice(Math.max(0, index - 1), index + 2)) }));
}

function median(points) {
  const values = points.map((point) => point.value).sort((a, b) => a - b);
  return values[Math.floor((values.length - 1) / 2)];
}

const CHARTS = [
  { kind: "in", title: "Samples in", unit: "/s", points: () => rate((t) => t.received) },
  { kind: "out", title: "Points out", unit: "/s", points: () => rateByWindow((t) => t.delivered) },
  { kind: "wait", title: "Points waiting", unit: "", points: () => totals.map((t) => ({ at: t.uptime_s, value: t.waiting })) },
  { kind: "lost", title: "Rejected or lost", unit: "/s", points: () => rate((t) => t.rejected + t.kernel_drops + t.dropped) },
];

function makeChart(chart) {
  const now = el("p", "now");
  const line = svg("path", { class: "line" });
  const area = svg("path", { class: "area" });
  const at = svg("line", { class: "at", y1: 0, y2: 64, visibility: "hidden" });
  const base = svg("line", { class: "base", x1: 0, x2: WIDTH, y1: 64, y2: 64 });
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} 64`, preserveAspectRatio: "none", role: "img" }, base, area, line, at);
  const most = el("span");
  const since = el("span");
  const axis = el("div", "axis", since, most, el("span", "", "now"));
  place("charts").append(el("div", `card chart ${chart.kind}`, el("h3", "", chart.title), now, drawing, axis));
  Object.assign(chart, { now, line, area, at, drawing, most, since, pointed: null });
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    chart.pointed = (event.clientX - box.left) / box.width;
    drawChart(chart);
  });
  drawing.addEventListener("pointerleave", () => { chart.pointed = null; drawChart(chart); });
}

function drawChart(chart) {
  const points = chart.points();
  if (points.length === 0) return chart.now.replaceChildren("…");
  const end = points[points.length - 1].at;
  const width_s = Math.min(SHOWN_S, Math.max(SHOWN_MIN_S, end - points[0].at));
  const shown = points.filter((point) => end - point.at <= width_s);
  const most = Math.max(...shown.map((point) => point.value));
  const scale = most > 0 ? 58 / most : 0;
  const x = (point) => ((1 - (end - point.at) / width_s) * WIDTH).toFixed(1);
  const path = shown.map((point) => `${x(point)},${(64 - point.value * scale).toFixed(1)}`).join(" L");
  chart.line.setAttribute("d", `M${path}`);
  chart.area.setAttribute("d", `M${x(shown[0])},64 L${path} L${WIDTH},64 Z`);
  chart.drawing.setAttribute("aria-label", `${chart.title}: at most ${short(most)}${chart.unit}`);
  chart.since.textContent = width_s < 120 ? `\u2212${Math.round(width_s)} s` : `\u2212${Math.round(width_s / 60)} min`;
  chart.most.textContent = most > 0 ? `max ${short(most)}${chart.unit}` : "none";
  const pointed = chart.pointed === null ? null : nearest(shown, end - width_s * (1 - chart.pointed));
  const point = pointed || shown[shown.length - 1];
  chart.at.setAttribute("visibility", pointed ? "visible" : "hidden");
  for (const end of ["x1", "x2"]) chart.at.setAttribute(end, x(point));
  const when = pointed ? el("small", "", ` ${span(end - point.at)} ago`) : null;
  const unit = chart.unit ? el("small", "", ` ${chart.unit}`) : null;
  chart.now.replaceChildren(...[short(point.value), unit, when].filter((part) => part));
}

function nearest(points, at) {
  return points.reduce((best, point) => Math.abs(point.at - at) < Math.abs(best.at - at) ? point : best);
}

// ---- Problems that an operator should know ----

function notices(status) {
  const found = [];
  const first = totals[0];
  const now = totals[totals.length - 1];
  const grown = (key) => now[key] - first[key];
  const within = span(Math.min(SHOWN_S, now.uptime_s - first.uptime_s));
  if (grown("kernel_drops") > 0) found.push(["bad", `The kernel dropped ${count(grown("kernel_drops"))} datagrams in the last ${within}: a receive buffer was full.`]);
  if (grown("dropped") > 0) found.push(["bad", `${count(grown("dropped"))} points were dropped in the last ${within}.`]);
  for (const [name, one] of Object.entries(status.forwarders)) {
    if (!one.up) found.push(["bad", `${name} cannot deliver: ${one.last_error || "reason unknown"}`]);
    if (one.spool && one.spool.degraded) found.push(["bad", `The spool of ${name} cannot be used: ${one.spool.degraded}`]);
  }
  for (const one of status.kamailio) {
    if (!one.up && one.polls > 0) found.push(["bad", `${one.endpoint} cannot be polled: ${one.last_error || "reason unknown"}`]);
  }
  const reload = status.reload.last;
  if (reload && reload.error) found.push(["warn", `A reload was refused, and nothing was changed: ${reload.error.split("\n")[0]}`]);
  if (grown("rejected") > 0) found.push(["warn", `${count(grown("rejected"))} messages were rejected in the last ${within}.`]);
  if (status.series.overflowed > 0) found.push(["warn", `${count(status.series.overflowed)} samples went to an overflow series: a limit on series was reached.`]);
  return found;
}

function showNotices(status) {
  const found = notices(status);
  const worst = found.some(([kind]) => kind === "bad") ? "bad" : "warn";
  const lines = found.map(([kind, words]) => el("p", `notice ${kind}`, words));
  // One line is no longer than the summary would be.
  const folded = lines.length > NOTICES_SHOWN + 1 ? lines.splice(NOTICES_SHOWN) : [];
  if (folded.length > 0) {
    const others = el("details", "", el("summary", "quiet", `and ${count(folded.length)} more`), ...folded);
    const before = place("notices").querySelector("details");
    others.open = before !== null && before.open;
    lines.push(others);
  }
  place("notices").replaceChildren(...lines);
  const words = found.length === 0 ? "all is well" : found.length === 1 ? "1 thing to look at" : `${found.length} things to look at`;
  setState(found.length === 0 ? "good" : worst, words);
}

function setState(kind, words) {
  const state = place("state");
  if (state.textContent !== words) state.textContent = words;
  state.className = `pill ${kind}`;
}

// ---- The parts of the page ----

// `received = aggregated + rejected`, with the numbers, and whether it is so.
function equation(left, right) {
  // A sign stays on the line of the number after it.
  const side = (terms, first) => terms.map(([words, n], index) => el("span", "term",
    index > 0 || first ? el("span", "sign", index > 0 ? "+" : first) : null,
    el("span", "", count(n), el("small", "", words))));
  const total = (terms) => terms.reduce((all, [, n]) => all + n, 0);
  const difference = total(left) - total(right);
  const verdict = difference === 0 ? el("span", "tag good", "✓ adds up") : el("span", "tag bad", `✗ off by ${count(difference)}`);
  return el("div", "sum", ...side(left), ...side(right, "="), verdict);
}

// The meanings of the reasons: for rejected messages, then for dropped points.
const REASONS = {
  bad_json: "not valid JSON",
  bad_line: "not a statsd line: name:value|type",
  too_deep: "nested too deeply",
  not_an_object: "JSON, but not an object",
  missing_name: "without metric_name",
  bad_name: "the name is empty or not a string",
  missing_type: "without a type",
  unknown_type: "an unknown type",
  missing_value: "without the value that the type needs",
  bad_value: "the value is not a finite number",
  bad_sample_rate: "the sample rate is not greater than 0 and at most 1",
  nested_tag: "a tag's value is an object or an array",
  bad_tag: "a tag without a name",
  too_many_tags: "more tags than limits.max_tags",
  too_many_values: "more values than limits.max_values",
  too_long: "longer than max_line or the buffer",
  unfinished: "the connection ended within a line",
  rule: "a rule of the configuration drops it",
  unsigned: "too short for the signature that the listener requires",
  bad_signature: "not signed with a secret of the listener",
  stale: "signed too long ago",
  from_future: "signed in the future: a clock is wrong",
  replayed: "a signed datagram that arrived before",
  maybe_replayed: "may have arrived before a crash",
  window_full: "more signed datagrams than signatures.max_datagrams",
  queue_full: "the queue in memory was full; the oldest window was dropped",
  shutdown: "not delivered before the daemon had to stop",
  debug_mode: "debug_mode logs points and does not send them",
  too_large: "the destination accepts no payload of this size",
  refused: "the destination permanently rejects the content",
  page_full: "no room on the page for Prometheus",
  totals_full: "no room for another total",
  spool_full: "the spool was full; the oldest window was dropped",
  spool_expired: "in the spool for longer than max_age",
  spool_corrupt: "its file in the spool cannot be read; it is in the quarantine",
  spool_newer: "a newer version wrote its file; it is in the quarantine",
  removed: "removed from the spool by an operator or another program",
  lost: "perhaps sent, and not sent again: the destination would count it twice",
  replaced: "being sent when a reload changed the destination, and without a spool",
};

function reasons(counts, kind) {
  const sorted = Object.entries(counts).sort((a, b) => b[1] - a[1]);
  if (sorted.length === 0) return null;
  return el("dl", "reasons", ...sorted.flatMap(([reason, n]) => [
    el("dt", `tag ${INTENDED.includes(reason) ? "" : kind}`, `${reason} ${count(n)}`),
    el("dd", "", REASONS[reason] || ""),
  ]));
}

// The reasons of all forwarders together.
function droppedBy(forwarders) {
  const all = {};
  for (const { dropped } of Object.values(forwarders)) {
    for (const [reason, n] of Object.entries(dropped)) all[reason] = (all[reason] || 0) + n;
  }
  return all;
}

function fact(words, value, isLoss) {
  return el("span", isLoss ? "loss" : "", `${words} `, el("b", "", value));
}

function showLedger({ ledger, listeners, forwarders }) {
  const refused = listeners.reduce((total, one) => total + sum(one.refused), 0);
  const one = (name) => Object.values(forwarders).reduce((total, forwarder) => total + forwarder[name], 0);
  const dropped = Object.values(forwarders).reduce((total, forwarder) => total + sum(forwarder.dropped), 0);
  place("ledger").replaceChildren(el("div", "card",
    equation([["samples received", ledger.received]], [["aggregated", ledger.aggregated], ["rejected", sum(ledger.rejected)]]),
    reasons(ledger.rejected, "warn"),
    el("div", "facts",
      fact("dropped by the kernel", count(ledger.kernel_drops), ledger.kernel_drops > 0),
      fact("refused unread", count(refused), refused > 0),
      fact("skipped", count(ledger.skipped)),
      ledger.timestamped > 0 ? fact("with a time, ignored", count(ledger.timestamped)) : null,
      fact("datagrams", count(ledger.datagrams)),
      fact("read", bytes(ledger.bytes)))),
    el("div", "card", equation(
      [["points flushed", one("flushed")], ["recovered", one("recovered")]],
      [["delivered", one("delivered")], ["queued", one("queued")], ["spooled", one("spooled")], ["dropped", dropped]]),
      reasons(droppedBy(forwarders), "bad")));
}

// A row of a table. On a phone each cell has its heading next to it.
function row(headings, cells) {
  return el("tr", "", ...cells.map((cell, index) => {
    const td = cell instanceof Node && cell.nodeName === "TD" ? cell : el("td", "", cell);
    if (index > 0) td.dataset.label = headings[index];
    return td;
  }));
}

function table(headings, bodies) {
  const head = el("thead", "", el("tr", "", ...headings.map((words) => el("th", "", words))));
  return el("div", "card", el("table", "", head, ...bodies));
}

function number(n, isLoss) {
  return el("td", n === 0 ? "zero" : isLoss ? "loss" : "", count(n));
}

function showListeners({ listeners }, before) {
  const headings = ["listener", "per second", "received", "rejected", "kernel drops", "refused", "connections", "buffer"];
  const rates = (index) => {
    const then = before && before.listeners[index];
    if (!then || then.listener !== listeners[index].listener) return "…";
    return short((listeners[index].received - then.received) / (current.uptime_s - before.uptime_s));
  };
  place("listeners").replaceChildren(table(headings, listeners.map((one, index) => el("tbody", "", row(headings, [
    el("td", "name", one.listener),
    rates(index),
    number(one.received),
    number(sum(one.rejected), true),
    number(one.kernel_drops, true),
    number(sum(one.refused), true),
    one.connections ? `${count(one.connections.open)} open` : el("td", "zero", "–"),
    one.receive_buffer ? bytes(one.receive_buffer) : el("td", "zero", "–"),
  ])))));
}

function forwarderNotes(one) {
  const notes = [];
  if (one.spool && one.spool.files > 0) notes.push(`Spool: ${count(one.spool.files)} windows, ${bytes(one.spool.file_bytes)}, the oldest from ${clock(one.spool.oldest)}, in ${one.spool.folder}`);
  if (one.spool && one.spool.quarantined + one.spool.not_quarantined > 0) {
    notes.push(`Refused points: ${count(one.spool.quarantined)} in quarantine, ${count(one.spool.not_quarantined)} not`);
  }
  if (one.refused_connections > 0) notes.push(`Connections to the page closed to make room for new ones: ${count(one.refused_connections)}`);
  if (one.last_error) notes.push(`Last error at ${clock(one.last_error_at)}: ${one.last_error}`);
  return notes.map((words) => el("p", "name", words));
}

function showForwarders({ forwarders }) {
  const headings = ["forwarder", "state", "flushed", "recovered", "delivered", "queued", "spooled", "dropped", "adds up", "last success"];
  const bodies = Object.entries(forwarders).map(([name, one]) => {
    const fates = one.delivered + one.queued + one.spooled + sum(one.dropped);
    const isRight = one.flushed + one.recovered === fates;
    const note = el("td", "note", ...forwarderNotes(one), reasons(one.dropped, "bad"));
    note.colSpan = headings.length;
    return el("tbody", "", row(headings, [
      el("td", "name", name, name === one.kind ? null : el("small", "", one.kind)),
      el("td", "", one.up ? el("span", "tag good", "up") : el("span", "tag bad", "down")),
      number(one.flushed),
      number(one.recovered),
      number(one.delivered),
      number(one.queued),
      number(one.spooled),
      number(sum(one.dropped), lost(one.dropped) > 0),
      el("td", "", isRight ? el("span", "tag good", "✓") : el("span", "tag bad", "✗")),
      one.last_success ? clock(one.last_success) : el("td", "zero", "never"),
    ]), el("tr", "", note));
  });
  place("forwarders").replaceChildren(table(headings, bodies));
}

function showKamailio({ kamailio }) {
  place("kamailio-section").hidden = kamailio.length === 0;
  const headings = ["server", "state", "polls", "failures", "latest took", "last success"];
  place("kamailio").replaceChildren(table(headings, kamailio.map((one) => {
    const notes = Object.entries(one.faults).map(([method, words]) => `${method}: ${words}`);
    if (one.last_error) notes.unshift(`Last error at ${clock(one.last_error_at)}: ${one.last_error}`);
    const note = el("td", "note", ...notes.map((words) => el("p", "name", words)));
    note.colSpan = headings.length;
    return el("tbody", "", row(headings, [
      el("td", "name", one.endpoint, el("small", "", Object.entries(one.tags).map((tag) => tag.join("=")).join(" "))),
      el("td", "", one.up ? el("span", "tag good", "up") : el("span", "tag bad", "down")),
      number(one.polls),
      number(one.failures),
      `${hundredths(one.duration_s * 1000)} ms`,
      one.last_success ? clock(one.last_success) : el("td", "zero", "never"),
    ]), el("tr", "", note));
  })));
}

// Rows of a name, a bar and a number, the largest first.
function bars(rows, shown, overflowed) {
  const most = rows.length > 0 ? rows[0][1] : 1;
  const bar = (n) => svg("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { width: Math.max(.5, n / most * 100), height: 6, rx: 1 }));
  return el("div", "bars", ...rows.flatMap(([name, n]) => [
    el("span", "name", name, overflowed[name] ? el("span", "tag warn", "overflows") : null),
    bar(n),
    el("span", "count", shown(n)),
  ]));
}

// The rows that match the search, as many as are shown, and a note about the others. `known` rows are
// the first of `total`.
function matching(rows, total, shownAs, overflowed) {
  const found = rows.filter(([name]) => name.toLowerCase().includes(wanted));
  const shown = found.slice(0, METRICS_SHOWN[more]);
  const left = wanted ? found.length - shown.length : total - shown.length;
  const words = wanted && total > rows.length ? `searched the first ${count(rows.length)} of ${count(total)} metrics` : "";
  const rest = left > 0 ? `and ${count(left)} other metrics` : "";
  return [
    shown.length > 0 ? bars(shown, shownAs, overflowed) : el("p", "quiet", "None."),
    rest || words ? el("p", "facts", [rest, words].filter((part) => part).join("; ")) : null,
  ];
}

function showSeries({ series, windows }) {
  const overflowed = series.overflowed_by_metric;
  const perSecond = (n) => `${short(n / loudest.interval_s)} /s`;
  const rows = (ranking, of) => ranking ? ranking.top.map((one) => [one.name, of(one)]).filter(([, n]) => n > 0) : [];
  const loud = rows(loudest, (one) => one.window_samples);
  // A metric without samples among the loudest means that all with samples are known.
  const isAll = loudest === null || loud.length < loudest.top.length;
  // The ranking covers the last window; the status has the current series.
  const now = Object.entries(series.by_metric).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  const total = Math.max(now.length, widest ? widest.total : 0);
  place("series").replaceChildren(el("div", "card",
    el("div", "facts",
      fact("metrics", count(total)),
      fact("series", count(series.total)),
      fact("samples overflowed", count(series.overflowed), series.overflowed > 0),
      fact("points in the last window", windows.points === null ? "–" : count(windows.points)),
      fact("windows of", `${windows.interval_s} s`),
      fact("late by", windows.lag_s === null ? "–" : `${count(windows.lag_s * 1000)} ms`)),
    el("div", "pair",
      el("div", "", el("h3", "", "Most samples, last window"),
        ...matching(loud, isAll || !isDeep() ? loud.length : Math.max(loud.length, loudest.total), perSecond, overflowed)),
      el("div", "", el("h3", "", "Most series"), ...matching(now, total, count, overflowed)))));
  place("more").hidden = more + 1 === METRICS_SHOWN.length || total <= METRICS_SHOWN[more];
}

// Whether more rows are needed than the page asks for at first.
const isDeep = () => more > 0 || wanted !== "";

async function askRankings() {
  const limit = isDeep() ? METRICS_SHOWN[METRICS_SHOWN.length - 1] : METRICS_SHOWN[0];
  const ranking = async (sort) => (await ask(`api/v1/top?parts=metrics&sort=${sort}&limit=${limit}`)).metrics;
  loudest = await ranking("samples");
  widest = await ranking("series");
}

async function changed() {
  wanted = place("search").value.trim().toLowerCase();
  try {
    await askRankings();
    if (current) showSeries(current);
  } catch (error) {
    console.warn(error);
  }
}

// Equal rejections as one entry with their number, the newest first.
function groups(rejected) {
  const found = new Map();
  for (const one of rejected) {
    const key = JSON.stringify([one.reason, one.offset, one.expected, one.excerpt, one.listener]);
    const group = found.get(key) || { one, times: 0, senders: new Set() };
    group.times += 1;
    group.senders.add(one.sender);
    found.set(key, group);
  }
  return [...found.values()];
}

function showRejected({ rejected }) {
  const messages = groups(rejected).slice(0, MESSAGES_SHOWN).map(({ one, times, senders }) => el("div", "message",
    el("div", "what",
      el("span", "", clock(one.time)),
      el("span", "tag warn", one.reason),
      times > 1 ? el("span", "tag", `${count(times)} times`) : null,
      el("span", "", `at byte ${count(one.offset)}: expected ${one.expected}${one.advice ? `; ${one.advice}` : ""}`),
      el("span", "name", `from ${one.sender}${senders.size > 1 ? ` and ${count(senders.size - 1)} more` : ""} to ${one.listener}`)),
    el("code", "", one.excerpt)));
  place("rejected").replaceChildren(el("div", "card",
    ...(messages.length > 0 ? messages : [el("p", "quiet", "None since the start.")])));
}

// A command that sends a first sample to a listener such as `statsd/udp 127.0.0.1:8125`.
function example(listener) {
  const [, protocol, transport, address] = /^(\w+)\/(\w+) (.*)$/.exec(listener) || [];
  const reachable = (address || "").replace(/^0\.0\.0\.0:/, "127.0.0.1:").replace(/^\[::\]:/, "[::1]:");
  // A path with other characters would need quotes.
  if (!/^[\w.:[\]/-]+$/.test(reachable)) return null;
  const to = `--to ${transport}://${reachable}`;
  return protocol === "statsd" ? `tallyd send --statsd ${to} 'user.logins:1|c'` : `tallyd send ${to} user.logins counter stage=login`;
}

function showHint({ ledger, listeners, windows }) {
  const examples = ledger.received === 0 ? listeners.map((one) => example(one.listener)).filter((line) => line) : [];
  const words = examples.slice(0, 5).join("\n");
  // Not replaced while it is the same, so that a reader can select it.
  if (place("hint").dataset.words === words) return;
  place("hint").dataset.words = words;
  place("hint").replaceChildren(...(words === "" ? [] : [el("div", "card",
    el("h2", "", "No samples yet"),
    el("p", "", "To send the first one from this host, run one of these commands, one for each listener:"),
    el("pre", "", words),
    el("p", "quiet", `Its point is delivered at the end of the window, within ${windows.interval_s} s.`))]));
}

function showAbout(status, before) {
  const parts = [`version ${status.version}`, `up ${span(status.uptime_s)}`, `process ${status.process.pid}`];
  if (before) {
    const share = (status.process.cpu_s - before.process.cpu_s) / (status.uptime_s - before.uptime_s);
    parts.push(`${hundredths(share * 100)} % of a core`);
  }
  parts.push(`${bytes(status.process.resident_bytes)} of memory`);
  place("about").textContent = parts.join(" · ");
  place("foot").textContent = `instance ${status.instance}`;
}

// ---- Current values ----

const VALUES_SHOWN = 20;
// The pause after a key, so that a word is searched once.
const TYPING_MS = 250;
const CHART_HEIGHT = 120;

let sought = "";
let found = null;
// The series in the chart, its values, and why there are none.
let watched = null;
let recorded = null;
let chartError = null;
let typing = null;

const seriesKey = (one) => JSON.stringify([one.name, one.type, one.tags]);
const valueOf = (n) => n === null ? "–" : Number.isInteger(n) ? count(n) : digits(n);

// A text without wildcards is searched anywhere in a name.
const globOf = (text) => /[*?[{]/.test(text) ? text : `*${text.replaceAll("\\", "\\\\")}*`;

async function askValues() {
  if (sought === "") { found = null; return; }
  const query = new URLSearchParams({ match: globOf(sought), limit: VALUES_SHOWN });
  found = await ask(`api/v1/series?${query}`);
  const now = watched && found.series.find((one) => seriesKey(one) === seriesKey(watched));
  if (now) watched = now;
}

async function askChart() {
  if (!watched) return;
  const query = new URLSearchParams({ name: watched.name, type: watched.type });
  for (const [key, value] of Object.entries(watched.tags)) query.append("tag", `${key}=${value}`);
  try {
    recorded = await ask(`api/v1/chart?${query}`);
    chartError = null;
  } catch (error) {
    chartError = String(error.message);
  }
}

function tagsOf(one) {
  return Object.entries(one.tags).map(([key, value]) => `${key}=${value}`).join(" ");
}

function showValues() {
  if (!found) {
    const words = "Search for series to see their values, and choose one to see its chart.";
    return place("values").replaceChildren(el("div", "card", el("p", "quiet", words)));
  }
  const headings = ["series", "type", "value", "per second", "without samples for"];
  const rows = found.series.map((one) => {
    const choose = el("button", "link name", one.name, el("small", "", tagsOf(one)));
    choose.type = "button";
    choose.addEventListener("click", () => watch(one));
    return el("tbody", watched && seriesKey(one) === seriesKey(watched) ? "chosen" : "", row(headings, [
      el("td", "name", choose),
      one.type,
      el("td", one.value === null ? "zero" : "", valueOf(one.value)),
      el("td", "rate" in one.fields ? "" : "zero", "rate" in one.fields ? short(one.fields.rate) : "–"),
      el("td", one.idle_s === 0 ? "zero" : "", one.idle_s === 0 ? "–" : span(one.idle_s)),
    ]));
  });
  const left = found.matched - found.series.length;
  const words = found.matched === 0 ? `None of ${count(found.live)} live series matches.` : left > 0 ? `and ${count(left)} other series` : "";
  const note = words ? el("p", "facts", words) : null;
  place("values").replaceChildren(...(rows.length > 0 ? [table(headings, rows)] : []), ...(note ? [note] : []));
}

function showChart() {
  if (!watched) return place("chart").replaceChildren();
  const close = el("button", "", "Close");
  close.type = "button";
  close.addEventListener("click", () => watch(null));
  const head = el("div", "head", el("h3", "name", watched.name, el("small", "", ` ${tagsOf(watched)}`)), close);
  const points = recorded ? recorded.points.map((one) => ({ at: Date.parse(one.end) / 1000, value: one.value })) : [];
  const known = points.filter((point) => point.value !== null);
  const words = chartError || (known.length === 0 ? `Recording has begun: the first value comes with the next window that has samples, within ${span(interval)}.` : null);
  const card = el("div", "card chart values", head, el("p", "now", valueOf(watched.value), el("small", "", ` ${watched.type}`)));
  if (words) card.append(el("p", "quiet", words));
  else card.append(...drawValues(points, known));
  place("chart").replaceChildren(card);
}

// The drawing and its axis. A gauge keeps its level without samples; other types have gaps.
function drawValues(points, known) {
  const end = points[points.length - 1].at;
  const width_s = Math.min(SHOWN_S, Math.max(SHOWN_MIN_S, end - points[0].at));
  const values = known.map((point) => point.value);
  const most = Math.max(...values);
  const least = watched.type === "gauge" ? Math.min(...values) : Math.min(0, ...values);
  const scale = most > least ? (CHART_HEIGHT - 8) / (most - least) : 0;
  const x = (at) => ((1 - (end - at) / width_s) * WIDTH).toFixed(1);
  const y = (value) => (CHART_HEIGHT - 4 - (scale > 0 ? (value - least) * scale : CHART_HEIGHT / 2)).toFixed(1);
  let path = "";
  let last = null;
  for (const point of points) {
    const value = point.value === null && watched.type === "gauge" ? last : point.value;
    if (value !== null) path += `${last === null ? "M" : "L"}${x(point.at)},${y(value)} `;
    last = value;
  }
  // Lines without length and with round ends: circles would be stretched with the drawing.
  const dots = known.length < 40 ? known.map((point) => `M${x(point.at)},${y(point.value)} h0`).join(" ") : "M0,0";
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${CHART_HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `${watched.name}: ${valueOf(least)} to ${valueOf(most)}` },
    svg("line", { class: "base", x1: 0, x2: WIDTH, y1: CHART_HEIGHT, y2: CHART_HEIGHT }),
    svg("path", { class: "line", d: path || "M0,0" }), svg("path", { class: "dots", d: dots }));
  const since = width_s < 120 ? `\u2212${Math.round(width_s)} s` : `\u2212${Math.round(width_s / 60)} min`;
  const range = most > least ? `${valueOf(least)} to ${valueOf(most)}` : `always ${valueOf(most)}`;
  return [drawing, el("div", "axis", el("span", "", since), el("span", "", range), el("span", "", "now"))];
}

async function watch(one) {
  watched = one;
  recorded = null;
  chartError = null;
  await askChart();
  showChart();
  showValues();
}

async function soughtChanged() {
  sought = place("find").value.trim();
  try {
    await askValues();
    showValues();
  } catch (error) {
    console.warn(error);
  }
}

// `#values=GLOB` is a search, and a chart if it finds one series.
async function openLink() {
  const link = new URLSearchParams(location.hash.slice(1)).get("values");
  if (!link) return;
  place("find").value = link;
  await soughtChanged();
  if (found && found.matched === 1) await watch(found.series[0]);
}

// ---- Live ----

let current = null;
// The metrics with the most samples and with the most series, as of a window.
let loudest = null;
let widest = null;
// The text to search for, in lower case, and the place in METRICS_SHOWN.
let wanted = "";
let more = 0;
let rejectedSeen = null;
// The end of the window whose values are shown.
let valuesOf = null;
let goneSince = null;

async function ask(path) {
  const reply = await fetch(path, { signal: AbortSignal.timeout(TIMEOUT_MS), cache: "no-store" });
  if (!reply.ok) throw new Error(`${path} answers ${reply.status}`);
  return reply.json();
}

async function poll() {
  const status = await ask("api/v1/status");
  const isSameRun = status.instance === instance;
  if (!isSameRun || totals.length === 0 || status.uptime_s - totals[totals.length - 1].uptime_s > 5) {
    totals = (await ask("api/v1/history")).totals;
  }
  const before = isSameRun ? current : null;
  instance = status.instance;
  interval = status.windows.interval_s;
  current = status;
  if (!isSameRun || status.windows.last_end !== loudest.window_end) await askRankings();
  if (sought !== "" || watched) {
    if (status.windows.last_end !== valuesOf) {
      valuesOf = status.windows.last_end;
      await askValues();
      await askChart();
      showValues();
      showChart();
    }
  }
  remember(totalsOf(status));
  show(status, before);
  const rejected = sum(status.ledger.rejected);
  if (!isSameRun || rejected !== rejectedSeen) {
    showRejected(await ask("api/v1/rejected"));
    rejectedSeen = rejected;
  }
}

function show(status, before) {
  showNotices(status);
  showHint(status);
  showAbout(status, before);
  CHARTS.forEach(drawChart);
  showLedger(status);
  showListeners(status, before);
  showKamailio(status);
  showForwarders(status);
  showSeries(status);
}

function showGone() {
  goneSince = goneSince || new Date();
  document.body.classList.add("gone");
  const what = current ? "The data below is out of date." : "";
  place("notices").replaceChildren(el("p", "notice bad", `The daemon has not answered since ${clock(goneSince)}. ${what}`));
  setState("bad", "no answer");
}

async function live() {
  try {
    await poll();
    goneSince = null;
    document.body.classList.remove("gone");
  } catch (error) {
    console.warn(error);
    showGone();
  }
  setTimeout(live, POLL_MS);
}

CHARTS.forEach(makeChart);
place("search").addEventListener("input", changed);
place("more").addEventListener("click", () => { more += 1; changed(); });
place("find").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(soughtChanged, TYPING_MS);
});
addEventListener("hashchange", openLink);
showValues();
openLink();
live();
