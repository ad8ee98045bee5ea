// Pictures that the service draws when they are asked for: asked for again until they are there, or it is said why not.
"use strict";

const LONGEST_DRAWING_MILLISECONDS = 600000;
// What takes longer is said to be under way.
const NOTICE_MILLISECONDS = 1000;
const underway = new WeakSet();

// Until a picture is drawn the service answers 202, or 503 while it is busy, and says when to look again.
async function awaitDrawing(address) {
  const end = Date.now() + LONGEST_DRAWING_MILLISECONDS;
  for (;;) {
    const answer = await fetch(address);
    if ((answer.status !== 202 && answer.status !== 503) || Date.now() > end) return answer;
    const seconds = Number(answer.headers.get("Retry-After")) || 2;
    await new Promise((resume) => window.setTimeout(resume, 1000 * seconds));
  }
}

function writeAsAddress(content) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", reject);
    reader.readAsDataURL(content);
  });
}

async function load(image) {
  if (underway.has(image)) return;
  if (image.dataset.from) return void say(image, "The browser can't show this picture.");
  underway.add(image);
  say(image, "The picture is being drawn…");
  const address = image.getAttribute("src");
  try {
    const answer = await awaitDrawing(address);
    if (answer.status === 401) return void toLogin();
    if (!answer.ok) return void say(image, await detailOf(answer));
    const picture = await writeAsAddress(await answer.blob());
    say(image, "");
    // The page may have been brought up to date meanwhile, with another picture.
    if (image.getAttribute("src") !== address) return;
    // Shown as it came: not every picture is kept, and asked for once more it might be drawn once more.
    image.src = picture;
    image.dataset.from = address;
  } catch {
    say(image, "The service does not answer. Load the page again to see the picture.");
  } finally {
    underway.delete(image);
  }
}

// In the picture's place.
function say(image, text) {
  const there = image.nextElementSibling;
  const note = there?.matches(".instead") ? there : document.createElement("p");
  note.className = "instead quiet";
  note.role = "status";
  note.textContent = text;
  note.hidden = !text;
  if (note !== there) image.after(note);
  image.hidden = Boolean(text);
}

function isBroken(image) {
  return image.complete && image.naturalWidth === 0;
}

function loadBroken() {
  for (const image of document.querySelectorAll("img[data-drawn]")) if (isBroken(image)) load(image);
}

document.addEventListener("error", (event) => event.target.matches?.("img[data-drawn]") && load(event.target), true);
document.addEventListener("normlab:replaced", loadBroken);
loadBroken();

// A file is saved, and a report opened, once it is drawn: not the answer that it isn't yet.
document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-drawn]");
  if (link === null || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (underway.has(link)) return;
  underway.add(link);
  link.ariaBusy = "true";
  const words = link.download ? "The file is being drawn, and saved when it is done." : "The report is being drawn, and opens when it is done.";
  const notice = window.setTimeout(() => show("done", words), NOTICE_MILLISECONDS);
  try {
    const answer = await awaitDrawing(link.href);
    if (answer.status === 401) return void toLogin();
    if (!answer.ok) return void show("message", await detailOf(answer));
    show("message", "");
    if (!link.download) return void window.location.assign(link.href);
    save(await answer.blob(), link.download);
  } catch {
    show("message", "The service does not answer, so nothing was saved. Try again.");
  } finally {
    window.clearTimeout(notice);
    if (document.getElementById("done").textContent === words) show("done", "");
    link.ariaBusy = "false";
    underway.delete(link);
  }
});

function save(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  window.setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
