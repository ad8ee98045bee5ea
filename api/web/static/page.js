// What every page does in a browser: follows changes, writes times in the reader's zone, sends changes, draws curves.
"use strict";

const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#666666"];
const REFRESH_MILLISECONDS = 1000;
// A page that takes the service long is asked for more rarely.
const REFRESH_TO_ANSWER = 10;
const LONGEST_MILLISECONDS = 10000;
const RETRY_MILLISECONDS = 5000;
// Nobody announces that time passes, or that a worker is silent.
const STALE_MILLISECONDS = 30000;
const csrf = document.body.dataset.csrf;

// Times -------------------------------------------------------------------------------------------------------------

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const exact = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium" });

function ago(at) {
  const seconds = (at - Date.now()) / 1000;
  for (const [unit, length] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (Math.abs(seconds) >= length) return relative.format(Math.round(seconds / length), unit);
  }
  return relative.format(Math.round(seconds), "second");
}

function writeTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    element.textContent = ago(at);
    element.title = `${exact.format(at)} (${element.dateTime.replace("T", " ").replace("+00:00", " UTC")})`;
  }
}

// Messages ------------------------------------------------------------------------------------------------------------

// `message`: what somebody pressed failed; `trouble`: the page can't be brought up to date. Neither replaces the other.
function show(id, text) {
  const element = document.getElementById(id);
  element.textContent = text;
  element.hidden = !text;
}

async function detailOf(answer) {
  try {
    return (await answer.json()).detail;
  } catch {
    return `The service answers: ${answer.status}.`;
  }
}

function toLogin() {
  window.location.assign(`/login?next=${encodeURIComponent(window.location.pathname + window.location.search)}`);
}

// What people change ---------------------------------------------------------------------------------------------------

// One request; the button can't be pressed again until it is answered.
async function send(button, method, address, body, more = {}) {
  button.disabled = true;
  try {
    const headers = { "X-CSRF-Token": csrf, ...(body && { "Content-Type": "application/json" }), ...more };
    const answer = await fetch(address, { method, headers, body: body && JSON.stringify(body) });
    if (answer.status === 401) return void toLogin();
    if (!answer.ok) return void show("message", await detailOf(answer));
    show("message", "");
    if (button.dataset.then) return void window.location.assign(button.dataset.then);
    if (button.form) finish(button.form);
    refresh();
  } catch {
    show("message", "The service does not answer. Once it does, the page shows whether anything was changed.");
  } finally {
    button.disabled = false;
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-post]");
  if (button === null || (button.dataset.confirm && !window.confirm(button.dataset.confirm))) return;
  send(button, "POST", button.dataset.post);
});

// Of a PATCH only what was edited: somebody else may have changed the rest. The key makes a second try harmless.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset.api) return;
  event.preventDefault();
  const [method, address] = form.dataset.api.split(" ");
  const fields = [...form.elements].filter((one) => one.name && (method !== "PATCH" || one.value !== one.defaultValue));
  const body = Object.fromEntries(fields.map((one) => [one.name, valueOf(one)]));
  form.dataset.key ??= [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  send(form.querySelector("button"), method, address, body, method === "POST" ? { "Idempotency-Key": form.dataset.key } : {});
});

function valueOf(field) {
  switch (field.dataset.type) {
    case "number": return Number(field.value);
    case "words": return field.value.split(/\s+/).filter(Boolean);
    default: return field.value;
  }
}

function finish(form) {
  delete form.dataset.key;
  for (const field of form.elements) if (field.name) field.defaultValue = field.value;
}

// The part of the page that changes -----------------------------------------------------------------------------------

let timer = null;
let isAsking = false;
let isDue = false;
let askedAt = 0;
let answerMilliseconds = 0;

// Soon, and again if it is due again before it is done.
function refresh() {
  if (document.getElementById("part") === null || document.hidden) return;
  isDue = true;
  if (timer !== null || isAsking) return;
  const pause = Math.min(Math.max(REFRESH_MILLISECONDS, REFRESH_TO_ANSWER * answerMilliseconds), LONGEST_MILLISECONDS);
  timer = window.setTimeout(ask, Math.max(0, askedAt + pause - Date.now()));
}

async function ask() {
  timer = null;
  isDue = false;
  isAsking = true;
  askedAt = Date.now();
  const part = document.getElementById("part");
  try {
    const headers = { "HX-Request": "true", "HX-Current-URL": window.location.href };
    const answer = await fetch(part.dataset.address, { headers });
    if (answer.status === 401) return void toLogin();
    if (!answer.ok) throw new Error();
    replace(part, await answer.text());
    show("trouble", "");
  } catch {
    show("trouble", "The service does not answer; this page may be out of date.");
    window.setTimeout(refresh, RETRY_MILLISECONDS * (1 + Math.random()));
  } finally {
    answerMilliseconds = Date.now() - askedAt;
    isAsking = false;
    if (isDue) refresh();
  }
}

// Morphed, not replaced: focus, scrolling and selection stay. Forms are their reader's, charts draw themselves, what
// people opened stays open, and a study's sentence is asked for again only when one of its jobs has changed status.
function replace(part, html) {
  const log = part.querySelector("pre.log");
  const follows = log !== null && log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
  Idiomorph.morph(part, html, {
    morphStyle: "outerHTML",
    callbacks: {
      beforeNodeMorphed(old, fresh) {
        if (!(old instanceof Element)) return true;
        if (old.matches("form, .chart")) return false;
        if (old.dataset.state !== undefined) {
          if (old.dataset.state !== fresh.dataset?.state) {
            old.dataset.state = fresh.dataset?.state ?? "";
            htmx.trigger(old, "again");
          }
          return false;
        }
        return true;
      },
      beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS"),
    },
  });
  const now = document.getElementById("part");
  htmx.process(now);
  writeTimes(now);
  const scrolled = now.querySelector("pre.log");
  if (follows && scrolled) scrolled.scrollTop = scrolled.scrollHeight;
  drawAll();
}

// Open while the page is seen: a browser allows six connections to one service.
let source = null;
let last = document.body.dataset.since;

function follow() {
  source = new EventSource(`/events?since=${encodeURIComponent(last)}`);
  source.addEventListener("open", () => show("connection", ""));
  source.addEventListener("error", () => {
    show("connection", "reconnecting…");
    if (source?.readyState !== EventSource.CLOSED) return;
    // Refused: the session may have ended. What asks for the part finds out, and the login follows.
    source = null;
    refresh();
    window.setTimeout(() => source ?? (document.hidden || follow()), RETRY_MILLISECONDS * (1 + Math.random()));
  });
  source.addEventListener("changed", (event) => {
    last = event.lastEventId;
    if (isOurs(JSON.parse(event.data))) refresh();
  });
}

function isOurs(jobs) {
  const shown = document.getElementById("part")?.dataset.jobs;
  if (jobs === null || shown === undefined) return true;
  const ours = new Set(JSON.parse(shown));
  return jobs.some((job) => ours.has(job));
}

document.addEventListener("visibilitychange", () => {
  if (!csrf) return;
  if (document.hidden) {
    source?.close();
    source = null;
  } else {
    refresh();
    source ?? follow();
  }
});

document.addEventListener("htmx:load", (event) => writeTimes(event.detail.elt));

// Learning curves -----------------------------------------------------------------------------------------------------

const METRICS = ["val_accuracy", "val_loss", "train_accuracy", "train_loss"];

function controlsOf(element) {
  const controls = document.createElement("div");
  controls.className = "controls";
  const metric = document.createElement("select");
  metric.ariaLabel = "Metric";
  metric.append(new Option("usual metric", ""), ...METRICS.map((name) => new Option(name.replace("_", " "), name)));
  const scale = document.createElement("label");
  const logarithmic = document.createElement("input");
  logarithmic.type = "checkbox";
  scale.append(logarithmic, " logarithmic");
  const hint = document.createElement("span");
  hint.className = "small";
  hint.textContent = "Drag to zoom, double-click for all.";
  controls.append(metric, scale, hint);
  controls.addEventListener("change", () => showCurves(element, true));
  element.append(controls);
  return { metric, logarithmic, plot: null, note: null };
}

function drawAll() {
  for (const element of document.querySelectorAll(".chart[data-curves]")) showCurves(element);
}

async function showCurves(element, isNew = false) {
  element.state ??= controlsOf(element);
  const state = element.state;
  const chosen = state.metric.value;
  let curves;
  try {
    const answer = await fetch(element.dataset.curves + (chosen ? `?metric=${chosen}` : ""));
    if (!answer.ok) return void note(element, await detailOf(answer));
    curves = await answer.json();
  } catch {
    return;
  }
  const data = columns(curves);
  if (data[0].length === 0) return void note(element, "No epoch has ended yet.");
  note(element, "");
  const plot = state.plot;
  if (plot && !isNew && plot.series.length === data.length) {
    // Zoomed in, the scales are the reader's.
    const [xs] = plot.data;
    const isZoomed = plot.scales.x.min > xs[0] || plot.scales.x.max < xs[xs.length - 1];
    plot.setData(data, !isZoomed);
    if (isZoomed) plot.redraw();
    return;
  }
  plot?.destroy();
  state.plot = new uPlot(layout(curves, element, state.logarithmic.checked), data, element);
}

function note(element, text) {
  const state = element.state;
  if (text) {
    state.plot?.destroy();
    state.plot = null;
  }
  state.note ??= element.appendChild(document.createElement("p"));
  state.note.className = "quiet";
  state.note.textContent = text;
  state.note.hidden = !text;
}

// One row of x, then mean, lower and upper bound of each series.
function columns(curves) {
  const xs = [...new Set(curves.series.flatMap((one) => one.points.map((point) => point.x)))].sort((a, b) => a - b);
  const rows = [xs];
  for (const one of curves.series) {
    const at = new Map(one.points.map((point) => [point.x, point]));
    for (const field of ["mean", "low", "high"]) rows.push(xs.map((x) => at.get(x)?.[field] ?? null));
  }
  return rows;
}

function layout(curves, element, isLogarithmic) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const isShare = curves.metric.endsWith("accuracy");
  const text = (value) => (value == null ? "–" : isShare ? `${(100 * value).toFixed(2)} %` : value.toPrecision(4));
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } };
  const series = [{ label: curves.x, value: (_, x) => x ?? "–" }];
  const bands = [];
  curves.series.forEach((one, number) => {
    const stroke = COLOURS[number % COLOURS.length];
    const place = series.length;
    series.push({ label: one.n > 1 ? `${one.name} (n = ${one.n})` : one.name, stroke, width: 2, value: (_, v) => text(v), spanGaps: true });
    const bound = { class: "bound", stroke: "transparent", points: { show: false } };
    series.push({ ...bound, label: `${one.name}, lower` }, { ...bound, label: `${one.name}, upper` });
    bands.push({ series: [place + 2, place + 1], fill: stroke + "26" });
  });
  return {
    width: Math.max(280, element.clientWidth),
    height: 360,
    scales: { x: { time: false }, y: { distr: isLogarithmic ? 3 : 1 } },
    axes: [
      { ...axis, label: curves.x },
      { ...axis, size: 70, label: curves.metric.replace("_", " "), values: (_, ticks) => ticks.map((v) => (v == null ? "" : isShare ? `${+(100 * v).toFixed(2)} %` : v)) },
    ],
    series,
    bands,
    hooks: { setSeries: [hideBand] },
  };
}

// A mean that is hidden in the legend takes its band along.
function hideBand(plot, number, change) {
  if (number === null || number % 3 !== 1 || change.show === undefined) return;
  for (const bound of [number + 1, number + 2]) plot.setSeries(bound, { show: change.show });
}

window.addEventListener("resize", () => {
  for (const element of document.querySelectorAll(".chart")) {
    element.state?.plot?.setSize({ width: Math.max(280, element.clientWidth), height: 360 });
  }
});

writeTimes(document);
for (const log of document.querySelectorAll("pre.log")) log.scrollTop = log.scrollHeight;
if (csrf) {
  drawAll();
  follow();
  window.setInterval(refresh, STALE_MILLISECONDS);
}
