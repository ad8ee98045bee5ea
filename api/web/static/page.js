// What every page does in a browser: follows changes, writes times in the reader's zone, sends changes, draws curves.
"use strict";

const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#666666"];
const REFRESH_MILLISECONDS = 1000;
// A page that takes the service long is asked for more rarely.
const REFRESH_TO_ANSWER = 10;
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

// Changes ------------------------------------------------------------------------------------------------------------

const message = document.getElementById("message");

function complain(text) {
  message.textContent = text;
  message.hidden = !text;
}

// One request; the button can't be pressed again until it is answered.
async function send(button, method, address, body) {
  button.disabled = true;
  try {
    const headers = { "X-CSRF-Token": csrf, ...(body && { "Content-Type": "application/json" }) };
    const answer = await fetch(address, { method, headers, body: body && JSON.stringify(body) });
    if (answer.status === 401) return void window.location.assign("/login");
    if (!answer.ok) throw new Error((await answer.json()).detail);
    complain("");
    if (button.form) delete button.form.dataset.unsaved;
    if (button.dataset.then) return void window.location.assign(button.dataset.then);
    refresh();
  } catch (error) {
    complain(error instanceof TypeError ? "The service does not answer; whether anything was changed shows when it does." : error.message);
  } finally {
    button.disabled = false;
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-post]");
  if (button === null || (button.dataset.confirm && !window.confirm(button.dataset.confirm))) return;
  send(button, "POST", button.dataset.post);
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset.api) return;
  event.preventDefault();
  const [method, address] = form.dataset.api.split(" ");
  const values = [...form.elements].filter((one) => one.name).map((one) => [one.name, valueOf(one)]);
  send(form.querySelector("button"), method, address, Object.fromEntries(values));
});

function valueOf(field) {
  switch (field.dataset.type) {
    case "number": return Number(field.value);
    case "words": return field.value.split(/\s+/).filter(Boolean);
    default: return field.value;
  }
}

// The part of the page that changes -----------------------------------------------------------------------------------

let timer = null;
let refreshedAt = 0;
let answerMilliseconds = 0;

function refresh() {
  const part = document.getElementById("part");
  if (part === null || timer !== null) return;
  const pause = Math.max(REFRESH_MILLISECONDS, REFRESH_TO_ANSWER * answerMilliseconds);
  const wait = Math.max(0, refreshedAt + pause - Date.now());
  timer = window.setTimeout(() => {
    timer = null;
    refreshedAt = Date.now();
    // What somebody is writing would be lost.
    if (document.querySelector("#part form[data-unsaved]") !== null) return refresh();
    htmx.trigger("#part", "changed");
  }, wait);
}

document.addEventListener("input", (event) => {
  const form = event.target.closest("#part form[data-api]");
  if (form !== null) form.dataset.unsaved = "";
});

function concerns(jobs) {
  const of = document.getElementById("part")?.dataset.concerns;
  if (jobs === null || of === undefined) return true;
  const ours = new Set(JSON.parse(of));
  return jobs.some((job) => ours.has(job));
}

let opened = new Set();
document.addEventListener("htmx:beforeSwap", () => {
  opened = new Set([...document.querySelectorAll("details[open] > summary")].map((one) => one.textContent));
});
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.target?.id === "part") answerMilliseconds = Date.now() - refreshedAt;
});
document.addEventListener("htmx:afterSwap", () => {
  for (const summary of document.querySelectorAll("details > summary")) {
    if (opened.has(summary.textContent)) summary.parentElement.open = true;
  }
});
document.addEventListener("htmx:load", (event) => {
  writeTimes(event.detail.elt);
  for (const log of event.detail.elt.querySelectorAll("pre.log")) log.scrollTop = log.scrollHeight;
  for (const element of document.querySelectorAll(".chart[data-curves]")) showCurves(element);
});
document.addEventListener("htmx:sendError", () => complain("The service does not answer."));
document.addEventListener("htmx:responseError", (event) => {
  if (event.detail.xhr.status !== 401) complain(`The service answers: ${event.detail.xhr.status}.`);
});

function follow() {
  const state = document.getElementById("connection");
  const source = new EventSource("/events");
  source.addEventListener("open", () => {
    state.textContent = "";
    complain("");
  });
  source.addEventListener("error", () => {
    state.textContent = "reconnecting…";
    // Refused, as when the session has ended: what asks for the part is then led to the login.
    if (source.readyState === EventSource.CLOSED) {
      refresh();
      window.setTimeout(follow, 5000);
    }
  });
  source.addEventListener("changed", (event) => {
    if (concerns(JSON.parse(event.data))) refresh();
  });
}

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

async function showCurves(element, isNew = false) {
  element.state ??= controlsOf(element);
  const state = element.state;
  const chosen = state.metric.value;
  const answer = await fetch(element.dataset.curves + (chosen ? `?metric=${chosen}` : ""));
  if (!answer.ok) return;
  const curves = await answer.json();
  const data = columns(curves);
  if (data[0].length === 0) {
    state.note ??= element.appendChild(document.createElement("p"));
    state.note.className = "quiet";
    state.note.textContent = "No epoch has ended yet.";
    return;
  }
  state.note?.remove();
  state.note = null;
  if (state.plot && !isNew && state.plot.series.length === data.length) return void state.plot.setData(data, false);
  state.plot?.destroy();
  state.plot = new uPlot(layout(curves, element, state.logarithmic.checked), data, element);
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
window.setInterval(() => writeTimes(document), 30000);
if (csrf) follow();
