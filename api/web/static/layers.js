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
  const controls = { statistic: makeChoice("quantity", "Quantity"), logY: makeSwitch("layers_log_y", "logarithmic y") };
  return addControls(element, controls, showLayers);
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
  // What is in the address is offered once it is known what was recorded.
  const isOffered = state.statistic.options.length > 0;
  const chosen = isOffered ? state.statistic.value : inAddress("quantity");
  let curves;
  try {
    const answer = await fetch(element.dataset.layers + (chosen ? `?statistic=${encodeURIComponent(chosen)}` : ""));
    if (answer.status === 401) return void toLogin();
    if (answer.status === 422 && !isOffered && chosen) {
      keepInAddress("quantity", "");
      return void showLayers(element, isNew);
    }
    if (!answer.ok) return void note(element, await detailOf(answer));
    curves = await answer.json();
  } catch {
    return;
  }
  // Asked for again meanwhile: that answer is the one to show.
  if (isOffered && chosen !== state.statistic.value) return;
  offer(state.statistic, curves.statistics, curves.statistic);
  const count = curves.layers.length;
  state.hint.textContent = `${curves.left_out ? `${count} of ${count + curves.left_out} layers, evenly over the depth. ` : ""}${ZOOM}`;
  if (curves.at.length === 0) return void note(element, "Nothing of this has been recorded yet.");
  const isLogarithmic = { x: curves.x === "step", y: state.logY.checked };
  const [data, tooSmall] = fit([curves.at, ...curves.layers.map((one) => one.values)], isLogarithmic);
  if (isBlank(data)) return void note(element, `There is no finite value to draw. ${tooSmall}`.trim());
  note(element, "");
  remark(element, [tooSmall]);
  draw(element, data, layerLayout(curves, element, isLogarithmic), isNew);
}

function layerLayout(curves, element, isLogarithmic) {
  const count = curves.layers.length;
  return {
    ...makeLayout(element, isLogarithmic, [curves.x, inWords(curves.statistic)], writeNumber),
    series: [
      { label: curves.x, value: (_, x) => x ?? "–" },
      ...curves.layers.map((one, number) => ({
        label: one.layer,
        key: one.layer,
        // From the first layer to the last, so that the depth can be seen.
        stroke: `hsl(${Math.round(260 - (230 * number) / Math.max(1, count - 1))} 65% 50%)`,
        width: 2,
        spanGaps: true,
        points: { show: hasPoints(15) },
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
