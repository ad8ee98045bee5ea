// What was measured inside a job's network while it trained: one quantity, a line for each layer.
"use strict";

const GROUPS = [
  ["Gradients", /^gradient_/],
  ["Weights", /^weight_|^effective_learning_rate$/],
  ["Batch statistics", /^statistics_gap$|^variance_ratio$/],
  ["Losses", /loss/],
  ["Activations", /./],
];

// "before_p50" is "before the norm: percentile 50".
function inWords(statistic) {
  const [, side, rest] = statistic.match(/^(before|after)_(.*)$/) ?? [];
  if (!side) return statistic.replaceAll("_", " ");
  return `${side} the norm: ${rest.replace(/^p(\d+)$/, "percentile $1").replace(/^std$/, "standard deviation")}`;
}

function layerControls(element) {
  const controls = document.createElement("div");
  controls.className = "controls";
  const statistic = document.createElement("select");
  statistic.ariaLabel = "Quantity";
  const scale = document.createElement("label");
  const logarithmic = document.createElement("input");
  logarithmic.type = "checkbox";
  scale.append(logarithmic, " logarithmic");
  const hint = document.createElement("span");
  hint.className = "small";
  controls.append(statistic, scale, hint);
  controls.addEventListener("change", () => showLayers(element, true));
  element.append(controls);
  return { statistic, logarithmic, hint, plot: null, note: null };
}

function offer(select, statistics, chosen) {
  if (select.options.length === statistics.length) return;
  select.replaceChildren();
  let left = statistics;
  for (const [label, pattern] of GROUPS) {
    const names = left.filter((name) => pattern.test(name));
    left = left.filter((name) => !pattern.test(name));
    if (names.length === 0) continue;
    const group = document.createElement("optgroup");
    group.label = label;
    group.append(...names.map((name) => new Option(inWords(name), name)));
    select.append(group);
  }
  select.value = chosen;
}

async function showLayers(element, isNew = false) {
  element.state ??= layerControls(element);
  const state = element.state;
  const chosen = state.statistic.value;
  let curves;
  try {
    const answer = await fetch(element.dataset.layers + (chosen ? `?statistic=${encodeURIComponent(chosen)}` : ""));
    if (!answer.ok) return void note(element, await detailOf(answer));
    curves = await answer.json();
  } catch {
    return;
  }
  // Asked for again meanwhile: that answer is the one to show.
  if (chosen !== state.statistic.value) return;
  offer(state.statistic, curves.statistics, curves.statistic);
  state.hint.textContent = curves.left_out
    ? `${curves.layers.length} of ${curves.layers.length + curves.left_out} layers, evenly over the depth. Drag to zoom, double-click for all.`
    : "Drag to zoom, double-click for all.";
  if (curves.at.length === 0) return void note(element, "Nothing of this has been recorded yet.");
  note(element, "");
  const data = [curves.at, ...curves.layers.map((one) => one.values)];
  if (state.plot && !isNew && state.plot.series.length === data.length) return void state.plot.setData(data);
  state.plot?.destroy();
  state.plot = new uPlot(layerLayout(curves, element, state.logarithmic.checked), data, element);
}

function layerLayout(curves, element, isLogarithmic) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } };
  const count = curves.layers.length;
  return {
    width: Math.max(280, element.clientWidth),
    height: 360,
    scales: { x: { time: false, distr: curves.x === "step" ? 3 : 1 }, y: { distr: isLogarithmic ? 3 : 1 } },
    axes: [
      { ...axis, label: curves.x },
      { ...axis, size: 70, label: inWords(curves.statistic), values: (_, ticks) => ticks.map((v) => (v == null ? "" : +v.toPrecision(3))) },
    ],
    series: [
      { label: curves.x, value: (_, x) => x ?? "–" },
      ...curves.layers.map((one, number) => ({
        label: one.layer,
        // From the first layer to the last, so that the depth can be seen.
        stroke: `hsl(${Math.round(260 - (230 * number) / Math.max(1, count - 1))} 65% 50%)`,
        width: 2,
        spanGaps: true,
        value: (_, v) => (v == null ? "–" : v.toPrecision(4)),
      })),
    ],
  };
}

function drawLayers() {
  for (const element of document.querySelectorAll(".chart[data-layers]")) showLayers(element);
}

document.addEventListener("normlab:replaced", drawLayers);
drawLayers();
