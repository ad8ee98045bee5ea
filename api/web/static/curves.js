// Learning curves of a job or a study, by uPlot: means over seeds with their intervals and, when asked, every seed.
"use strict";

const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#666666"];
const METRICS = ["val_accuracy", "val_loss", "train_accuracy", "train_loss"].map((name) => [name, name.replace("_", " ")]);
// Of one job both splits are shown.
const MEASURES = [["val_accuracy", "accuracy"], ["val_loss", "loss"]];
const WAITING = ["queued", "running", "paused"];

function curveControls(element) {
  const hasSeeds = "seeds" in element.dataset;
  const controls = {
    metric: makeChoice("metric", "Metric", [["", "usual metric"], ...(hasSeeds ? METRICS : MEASURES)]),
    x: makeChoice("x", "Horizontal axis", [["", "by epoch"], ["step", "by step"]]),
    logX: makeSwitch("log_x", "logarithmic x"),
    logY: makeSwitch("log_y", "logarithmic y"),
    ...(hasSeeds && { seeds: makeSwitch("seeds", "show seeds") }),
  };
  return addControls(element, controls, showCurves);
}

// What is asked of the API: of a picture to cite the same.
function wantedOf({ metric, x, seeds }) {
  const wanted = { metric: metric.value, x: x.value, seeds: seeds?.checked ? "true" : "" };
  return new URLSearchParams(Object.entries(wanted).filter(([, value]) => value));
}

async function showCurves(element, isNew = false) {
  element.state ??= curveControls(element);
  const state = element.state;
  const wanted = wantedOf(state).toString();
  leadToPictures(element, wanted);
  let curves;
  try {
    const answer = await fetch(`${element.dataset.curves}?${wanted}`);
    if (answer.status === 401) return void toLogin();
    if (!answer.ok) return void note(element, await detailOf(answer));
    curves = await answer.json();
  } catch {
    return;
  }
  // Asked for something else meanwhile: that answer is the one to show.
  if (wanted !== wantedOf(state).toString()) return;
  const isLogarithmic = { x: state.logX.checked, y: state.logY.checked };
  const lines = linesOf(curves);
  const [data, tooSmall] = fit(columns(lines), isLogarithmic, (number) => number - lines[number - 1].toMean);
  const missing = [...missingOf(curves), tooSmall];
  if (isBlank(data)) {
    const words = isWaiting(curves) && !tooSmall ? ["No epoch has ended yet."] : ["There is no curve to draw.", ...missing];
    return void note(element, words.filter(Boolean).join(" "));
  }
  note(element, "");
  remark(element, [seedsIn(curves), ...missing]);
  draw(element, data, curveLayout(curves, lines, element, isLogarithmic), isNew);
}

// The picture is drawn by the service, of the metric and along the axis that are chosen.
function leadToPictures(element, wanted) {
  for (const link of element.parentElement.querySelectorAll("a[data-format]")) {
    link.href = `${element.dataset.curves}?${new URLSearchParams(`${wanted}&format=${link.dataset.format}`)}`;
  }
}

function seedsIn(curves) {
  const seeds = curves.series.flatMap((one) => one.seeds);
  const areApart = seeds.some((one) => one.left_out);
  return seeds.length > 0 && `Thin lines are single seeds${areApart ? ", dashed where they are not in the mean" : ""}.`;
}

// Whether what has no value yet may have one.
function isWaiting(curves) {
  return curves.series.every((one) => one.non_finite === 0 && Object.keys(one.left_out).every((why) => WAITING.includes(why)));
}

function missingOf(curves) {
  const reasons = curves.series.flatMap((one) => {
    const words = Object.entries(one.left_out).map(([why, count]) => `${count} ${why}`);
    return words.length ? [`${one.name} (${words.join(", ")})`] : [];
  });
  const count = curves.series.reduce((sum, one) => sum + one.non_finite, 0);
  return [
    reasons.length > 0 && `${isWaiting(curves) ? "Not yet" : "Not"} in the means: ${reasons.join("; ")}.`,
    count > 0 && (count === 1 ? "One value is NaN or infinite and not drawn." : `${count} values are NaN or infinite and not drawn.`),
    curves.seeds_left_out > 0 && `${curves.seeds_left_out} more seeds are not drawn.`,
  ];
}

// In the order of drawing: seeds lie under the means. Each is one row of data, by its place.
function linesOf(curves) {
  const stroke = (number) => COLOURS[number % COLOURS.length];
  const seeds = curves.series.flatMap((one, arm) =>
    one.seeds.map((seed) => ({
      arm,
      points: new Map(seed.points),
      look: { label: `${one.name}, seed ${seed.seed}`, class: "bound", stroke: `${stroke(arm)}99`, width: 1, spanGaps: true, points: { show: hasPoints(1), size: 4 }, ...(seed.left_out && { dash: [4, 4] }) },
    })),
  );
  // Of one job the series are its metrics.
  const nameOf = (one) => (curves.baseline === null ? one.name.replaceAll("_", " ") : one.name);
  const means = curves.series.flatMap((one, arm) => {
    const row = (field) => new Map(one.points.map((point) => [point.x, point[field]]));
    const bound = { class: "bound", stroke: "transparent", points: { show: false } };
    return [
      { arm, isMean: true, points: row("mean"), look: { label: one.n > 1 ? `${nameOf(one)} (n = ${one.n})` : nameOf(one), stroke: stroke(arm), width: 2, spanGaps: true, points: { show: hasPoints(15) } } },
      { arm, toMean: 1, points: row("low"), look: { ...bound, label: `${one.name}, lower` } },
      { arm, toMean: 2, points: row("high"), look: { ...bound, label: `${one.name}, upper` } },
    ];
  });
  return [...seeds, ...means];
}

function columns(lines) {
  const xs = [...new Set(lines.flatMap((one) => [...one.points.keys()]))].sort((a, b) => a - b);
  return [xs, ...lines.map((one) => xs.map((x) => one.points.get(x) ?? null))];
}

function curveLayout(curves, lines, element, isLogarithmic) {
  const isShare = curves.metric.endsWith("accuracy");
  const text = (value) => (value == null ? "–" : isShare ? `${(100 * value).toFixed(2)} %` : value.toPrecision(4));
  const tick = (value) => (isShare ? `${+(100 * value).toFixed(2)} %` : writeNumber(value));
  // Of one job both splits are shown.
  const label = curves.baseline === null ? curves.metric.replace(/^.*_/, "") : curves.metric.replace("_", " ");
  const bands = lines.flatMap((one, number) => (one.isMean ? [{ series: [number + 3, number + 2], fill: `${one.look.stroke}26` }] : []));
  // A mean that is hidden in the legend takes its band and its seeds along.
  const hideWithMean = (plot, number, change) => {
    if (number === null || change.show === undefined || !lines[number - 1]?.isMean) return;
    const { arm } = lines[number - 1];
    lines.forEach((one, at) => one.arm === arm && !one.isMean && plot.setSeries(at + 1, { show: change.show }));
  };
  return {
    ...makeLayout(element, isLogarithmic, [curves.x, label], tick),
    series: [
      { label: curves.x, value: (_, x) => x ?? "–" },
      ...lines.map((one) => ({ ...one.look, key: one.isMean ? curves.series[one.arm].name : undefined, value: (_, value) => text(value) })),
    ],
    bands,
    hooks: { setSeries: [hideWithMean] },
  };
}

function drawAll() {
  for (const element of document.querySelectorAll(".chart[data-curves]")) showCurves(element);
}

document.addEventListener("normlab:replaced", drawAll);
drawAll();
