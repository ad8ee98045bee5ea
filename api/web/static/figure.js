// Saves a figure that the page has drawn as a file of its own, with the look that its style sheet gives it written into it.
"use strict";

const LOOK = ["fill", "stroke", "stroke-width", "font-family", "font-size", "font-weight", "text-anchor", "paint-order"];
// Pixels of a PNG to one of the figure's units.
const DENSITY = 4;

function copyOf(figure) {
  const copy = figure.cloneNode(true);
  const parts = [copy, ...copy.querySelectorAll("*")];
  [figure, ...figure.querySelectorAll("*")].forEach((part, at) => {
    const style = getComputedStyle(part);
    for (const name of LOOK) parts[at].setAttribute(name, style.getPropertyValue(name));
  });
  const { width, height } = figure.viewBox.baseVal;
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  const paper = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  const background = getComputedStyle(document.body).backgroundColor;
  for (const [name, value] of Object.entries({ width, height, fill: background })) paper.setAttribute(name, value);
  copy.prepend(paper);
  return new XMLSerializer().serializeToString(copy);
}

async function paint(text, { width, height }) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: DENSITY * width, height: DENSITY * height });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-figure]");
  if (button === null) return;
  const figure = document.querySelector("svg.forest");
  const text = copyOf(figure);
  const isPicture = button.dataset.figure.endsWith(".png");
  save(isPicture ? await paint(text, figure.viewBox.baseVal) : new Blob([text], { type: "image/svg+xml" }), button.dataset.figure);
});
