// What the charts share: controls whose choices are kept in the page's address, axes, sizes, and words for what can't be drawn.
"use strict";

const CHART_HEIGHT = 360;
const ZOOM = "Drag to zoom, double-click to show all. Keyboard: + and − zoom, ← and → move, 0 shows all.";
const WHOLE = Array.from({ length: 12 }, (_, power) => [1, 2, 5].map((one) => one * 10 ** power)).flat();

// Controls -------------------------------------------------------------------------------------------------------------

// So that a link shows the same chart to somebody else, and loading the page again keeps it.
function inAddress(name) {
  return new URLSearchParams(window.location.search).get(name) ?? "";
}

function keepInAddress(name, value) {
  const address = new URL(window.location.href);
  if (value) address.searchParams.set(name, value);
  else address.searchParams.delete(name);
  window.history.replaceState(window.history.state, "", address);
}

// The first of the options is what is chosen without a word in the address.
function makeChoice(name, label, options = []) {
  const select = document.createElement("select");
  select.name = name;
  select.ariaLabel = label;
  select.append(...options.map(([value, words]) => new Option(words, value)));
  const kept = inAddress(name);
  if (options.some(([value]) => value === kept)) select.value = kept;
  return select;
}

function makeSwitch(name, words) {
  const box = document.createElement("input");
  box.type = "checkbox";
  box.name = name;
  box.checked = inAddress(name) === "1";
  const label = document.createElement("label");
  label.append(box, ` ${words}`);
  return box;
}

// Above a chart; `draw` draws it anew.
function addControls(element, controls, draw) {
  const row = document.createElement("div");
  row.className = "controls";
  const hint = document.createElement("span");
  hint.className = "small";
  hint.textContent = ZOOM;
  hint.id = `${element.id}-keys`;
  row.append(...Object.values(controls).map((one) => (one.type === "checkbox" ? one.parentElement : one)), hint);
  row.addEventListener("change", (event) => {
    const { type, name, checked, value } = event.target;
    keepInAddress(name, type === "checkbox" ? (checked ? "1" : "") : value);
    draw(element, true);
  });
  const [left, nothing] = ["small", "quiet"].map((name) => Object.assign(document.createElement("p"), { className: name, hidden: true }));
  nothing.role = "status";
  const part = Object.assign(document.createElement("span"), { className: "small", role: "status" });
  row.append(part);
  element.append(row, nothing, left);
  return { ...controls, hint, left, nothing, part, plot: null };
}

// Beside the chart: what of the data it doesn't show.
function remark(element, sentences) {
  const { left } = element.state;
  left.textContent = sentences.filter(Boolean).join(" ");
  left.hidden = !left.textContent;
}

// Instead of the chart.
function note(element, text) {
  const state = element.state;
  if (text) {
    state.plot?.destroy();
    state.plot = null;
    remark(element, []);
  }
  if (state.nothing.textContent !== text) state.nothing.textContent = text;
  state.nothing.hidden = !text;
}

// What can be drawn -----------------------------------------------------------------------------------------------------

// A logarithmic axis has no place for zero and less. `meanOf`: for the row of a bound, that of its mean: an interval is cut
// where it would go on below the smallest value of all. With the sentences that say what is left out.
function fit(data, isLogarithmic, meanOf = () => undefined) {
  let rows = data;
  let count = 0;
  let isCut = false;
  if (isLogarithmic.x) {
    const places = rows[0].flatMap((x, at) => (x > 0 ? [at] : []));
    count += rows[0].length - places.length;
    rows = rows.map((row) => places.map((at) => row[at]));
  }
  if (isLogarithmic.y) {
    const smallest = rows.slice(1).flat().reduce((least, value) => (value > 0 && value < least ? value : least), Infinity);
    rows = rows.map((row, number) => {
      if (number === 0) return row;
      const mean = rows[meanOf(number)];
      if (mean) {
        isCut ||= row.some((value, at) => value !== null && value <= 0 && mean[at] > 0);
        return row.map((value, at) => (value !== null && mean[at] > 0 ? (value > 0 ? value : smallest) : null));
      }
      count += row.filter((value) => value !== null && value <= 0).length;
      return row.map((value) => (value > 0 ? value : null));
    });
  }
  const words = count === 1 ? "One value of zero or less has" : `${count} values of zero or less have`;
  return [rows, [
    count > 0 && `${words} no place on a logarithmic axis.`,
    isCut && "Intervals that reach zero end at the smallest value shown.",
  ].filter(Boolean).join(" ")];
}

function isBlank(data) {
  return data.slice(1).every((row) => row.every((value) => value === null));
}

// Axes ------------------------------------------------------------------------------------------------------------------

// One place alone has room to both sides.
function rangeOfX(_, min, max) {
  return min === null || min < max ? [min, max] : [min - 1, max + 1];
}

function rangeOfLogarithm(_, min, max) {
  if (min === null) return [null, null];
  return min < max ? uPlot.rangeLog(min, max, 10, false) : [min / 2, 2 * max];
}

// Beside 1, 2 and 5 the others only where there are too few of these.
function isNamed(_, ticks) {
  const decades = Math.log10(ticks[ticks.length - 1] / ticks[0]);
  const digit = (value) => Math.round(value / 10 ** Math.floor(Math.log10(value) + 1e-9));
  const named = ticks.map((value) => ((decades > 3 ? [1] : [1, 2, 5]).includes(digit(value)) ? value : null));
  return named.filter((value) => value !== null).length < 3 ? ticks : named;
}

function writeNumber(value) {
  const size = Math.abs(value);
  return size >= 1e5 || (size > 0 && size < 1e-4) ? value.toExponential().replace("e+", "e") : String(+value.toPrecision(6));
}

// What a chart is drawn with, but for its series. `y` writes a number of the y axis.
function makeLayout(element, isLogarithmic, labels, y) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const look = { stroke: colour("--quiet"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } };
  const axis = (label, isLog, write) => ({
    ...look,
    label,
    values: (_, ticks) => ticks.map((value) => (value === null ? "" : write(value))),
    ...(isLog && { filter: isNamed, grid: { ...look.grid, filter: isNamed }, ticks: { ...look.ticks, filter: isNamed } }),
  });
  const scale = (isLog, range) => ({ time: false, distr: isLog ? 3 : 1, ...(isLog ? { range: rangeOfLogarithm } : range && { range }) });
  return {
    ...sizeOf(element),
    scales: { x: scale(isLogarithmic.x, rangeOfX), y: scale(isLogarithmic.y) },
    // Epochs and steps are whole.
    axes: [{ ...axis(labels[0], isLogarithmic.x, (value) => value.toLocaleString("en")), incrs: WHOLE }, { ...axis(labels[1], isLogarithmic.y, y), size: 70 }],
    // Lines without a row in the legend have no point under the pointer.
    cursor: { points: { size: (plot, number) => (plot.series[number].class === "bound" ? 0 : 8) } },
  };
}

function sizeOf(element) {
  return { width: Math.max(280, element.clientWidth), height: CHART_HEIGHT };
}

// A line of few values shows each of them; one of a single value is nothing else.
function hasPoints(most) {
  return (plot, number) => plot.data[number].filter((value) => value !== null).length <= most;
}

// Drawing ---------------------------------------------------------------------------------------------------------------

// Unless it is another chart, the reader's zoom and what they have hidden stay.
function draw(element, data, options, isNew) {
  const state = element.state;
  const old = isNew ? null : state.plot;
  const zoom = old && zoomOf(old);
  const names = options.series.map((one) => one.label).join("\n");
  if (old && state.names === names) {
    old.setData(data, !zoom);
    if (zoom) old.redraw();
    return;
  }
  const hidden = new Set(old?.series.filter((one) => one.key && !one.show).map((one) => one.key));
  const hadFocus = state.plot?.over.parentElement === document.activeElement;
  state.names = names;
  state.plot?.destroy();
  const hooks = { ...options.hooks, setScale: [(plot, axis) => axis === "x" && sayPart(element, plot)] };
  state.plot = new uPlot({ ...options, hooks }, data, element);
  nameLegend(state.plot);
  listenToKeys(element, state.plot, hadFocus);
  state.plot.series.forEach((one, number) => number && hidden.has(one.key) && state.plot.setSeries(number, { show: false }));
  if (zoom) state.plot.setScale("x", zoom);
}

function zoomOf(plot) {
  const [xs] = plot.data;
  const { min, max } = plot.scales.x;
  return min > xs[0] || max < xs[xs.length - 1] ? { min, max } : null;
}

// Zooming and moving by the keyboard --------------------------------------------------------------------------------------

const KEYS = {
  "+": (plot) => look(plot, 1 / 1.5, 0),
  "=": (plot) => look(plot, 1 / 1.5, 0),
  "-": (plot) => look(plot, 1.5, 0),
  ArrowLeft: (plot) => look(plot, 1, -0.2),
  ArrowRight: (plot) => look(plot, 1, 0.2),
  0: (plot) => plot.setData(plot.data),
};
// Of the whole axis, that is shown at least.
const LEAST_PART = 1 / 1000;

function listenToKeys(element, plot, hasFocus) {
  const frame = plot.over.parentElement;
  frame.tabIndex = 0;
  // A screen reader leaves the keys to it.
  frame.role = "application";
  frame.ariaLabel = element.ariaLabel;
  frame.setAttribute("aria-describedby", element.state.hint.id);
  frame.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !Object.hasOwn(KEYS, event.key)) return;
    event.preventDefault();
    KEYS[event.key](plot);
  });
  if (hasFocus) frame.focus();
}

// So many times what is shown of the x axis, moved by a share of it, but not beyond the data.
function look(plot, times, share) {
  const isLogarithmic = plot.scales.x.distr === 3;
  const [place, valueAt] = isLogarithmic ? [Math.log10, (at) => 10 ** at] : [Number, Number];
  const [xs] = plot.data;
  const [first, last, min, max] = [xs[0], xs[xs.length - 1], plot.scales.x.min, plot.scales.x.max].map(place);
  const width = Math.max((max - min) * times, (last - first) * LEAST_PART);
  if (!(width < last - first)) return plot.setData(plot.data);
  const left = (min + max - width) / 2 + share * width;
  const low = Math.min(Math.max(left, first), last - width);
  plot.setScale("x", { min: valueAt(low), max: valueAt(low + width) });
}

function sayPart(element, plot) {
  const zoom = zoomOf(plot);
  const text = zoom ? `Shown: ${[zoom.min, zoom.max].map((value) => writeNumber(+value.toPrecision(3))).join(" to ")}.` : "";
  if (element.state.part.textContent !== text) element.state.part.textContent = text;
}

// A line is hidden and shown by the keyboard, too.
function nameLegend(plot) {
  const labels = [...plot.root.querySelectorAll(".u-legend .u-series")].map((row) => row.querySelector(".u-label"));
  const write = () => labels.forEach((label, number) => number && label.setAttribute("aria-checked", plot.series[number].show));
  labels.forEach((label, number) => {
    if (number === 0) return;
    label.role = "checkbox";
    label.tabIndex = 0;
    label.addEventListener("keydown", (event) => {
      if (event.key !== " " && event.key !== "Enter") return;
      event.preventDefault();
      label.click();
    });
  });
  (plot.hooks.setSeries ??= []).push(write);
  write();
}

window.addEventListener("resize", () => {
  for (const element of document.querySelectorAll(".chart")) element.state?.plot?.setSize(sizeOf(element));
});
