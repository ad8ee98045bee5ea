// Learning curves of a job or a study, by uPlot: means over seeds with their intervals, zoomed by dragging.
"use strict";

const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#666666"];
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

document.addEventListener("normlab:replaced", drawAll);
drawAll();
