// What every page does in a browser: follows changes, writes times in the reader's zone, sends changes.
"use strict";

const REFRESH_MILLISECONDS = 1000;
// A page that takes the service long is asked for more rarely.
const REFRESH_TO_ANSWER = 10;
const LONGEST_MILLISECONDS = 10000;
const RETRY_MILLISECONDS = 5000;
// Nobody announces that time passes, or that a worker is silent.
const STALE_MILLISECONDS = 30000;
const AWAY = "The service does not answer.";
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
  window.location.assign(`/login?next=${encodeURIComponent(window.location.pathname + window.location.search)}&ended=true`);
}

// What people change ---------------------------------------------------------------------------------------------------

// One request; the button can't be pressed again until it is answered. Returns what the service says, or nothing where it
// refuses, which is said by `refuse`, or doesn't answer. With a key a second try is harmless.
async function request(button, method, address, { body, type = "application/json", key, refuse = showDetail } = {}) {
  // A button loses the focus while it is disabled.
  const isFocused = document.activeElement === button;
  button.disabled = true;
  show("done", "");
  try {
    const headers = { "X-CSRF-Token": csrf, ...(body && { "Content-Type": type }), ...(key && { "Idempotency-Key": key }) };
    const answer = await fetch(address, { method, headers, body });
    if (answer.status === 401) return void toLogin();
    if (!answer.ok) return void (await refuse(answer));
    const text = await answer.text();
    show("message", "");
    return text ? JSON.parse(text) : {};
  } catch {
    const next = key ? "Try again: nothing is created twice." : "Once it does, the page shows whether anything was changed.";
    show("message", `${AWAY} ${next}`);
  } finally {
    button.disabled = false;
    if (isFocused && document.activeElement === document.body) button.focus();
  }
}

async function showDetail(answer) {
  show("message", await detailOf(answer));
}

// Afterwards the page says what was `done`, and how to undo it: by the same request with another body.
async function send(button, method, address, body, key) {
  // As it was pressed: the page may be brought up to date meanwhile.
  const { done = "", undo } = { ...button.dataset };
  if (!(await request(button, method, address, { body, key }))) return;
  // What a form holds is its reader's: undone, it is loaded anew.
  const then = button.form && { then: window.location.href };
  showDone(done, undo && { send: `${method} ${address}`, body: undo, done: "Undone.", ...then });
  if (button.dataset.then) return void window.location.assign(button.dataset.then);
  if (button.form) finish(button.form);
  refresh();
}

function showDone(text, undo) {
  show("done", text);
  if (!undo) return;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Undo";
  Object.assign(button.dataset, undo);
  document.getElementById("done").append(" ", button);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-post], button[data-send]");
  if (button === null || (button.dataset.confirm && !window.confirm(button.dataset.confirm))) return;
  const [method, address] = (button.dataset.send ?? `POST ${button.dataset.post}`).split(" ");
  send(button, method, address, button.dataset.body);
});

// Of a PATCH only what was edited: somebody else may have changed the rest. The key makes a second try harmless. A `{field}`
// of the address is that field, which is left out of the body.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset.api) return;
  event.preventDefault();
  const [method, template] = form.dataset.api.split(" ");
  const address = template.replace(/\{(\w+)\}/g, (_, field) => encodeURIComponent(form.elements[field].value));
  const inBody = [...form.elements].filter((one) => one.name && !template.includes(`{${one.name}}`));
  const fields = inBody.filter((one) => method !== "PATCH" || isEdited(one));
  const body = Object.fromEntries(fields.map((one) => [one.name, valueOf(one, one.value)]));
  const before = Object.fromEntries(fields.map((one) => [one.name, valueOf(one, valueBefore(one))]));
  form.dataset.key ??= makeKey();
  const button = form.querySelector("button");
  if (method === "PATCH") Object.assign(button.dataset, { done: button.dataset.done ?? "Saved.", undo: JSON.stringify(before) });
  send(button, method, address, JSON.stringify(body), method === "POST" ? form.dataset.key : undefined);
});

function makeKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function isEdited(field) {
  return field.value !== valueBefore(field);
}

function valueBefore(field) {
  return field.options ? ([...field.options].find((one) => one.defaultSelected) ?? field.options[0])?.value : field.defaultValue;
}

// A limit that is left empty is none.
function valueOf(field, value) {
  switch (field.dataset.type) {
    case "number": return Number(value);
    case "limit": return /^\d+$/.test(value.trim()) ? Number(value) : value.trim() || null;
    case "words": return value.split(/\s+/).filter(Boolean);
    default: return value;
  }
}

function finish(form) {
  delete form.dataset.key;
  if (form.dataset.clear !== undefined) return void form.reset();
  for (const field of form.elements) {
    for (const option of field.options ?? []) option.defaultSelected = option.selected;
    if (field.name) field.defaultValue = field.value;
  }
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
    isDue ||= isLate();
    show("trouble", "");
    if (document.getElementById("message").textContent.startsWith(AWAY)) show("message", "");
  } catch {
    show("trouble", "The service does not answer; this page may be out of date.");
    window.setTimeout(refresh, RETRY_MILLISECONDS * (1 + Math.random()));
  } finally {
    answerMilliseconds = Date.now() - askedAt;
    isAsking = false;
    if (isDue) refresh();
  }
}

// What is shown is from before the latest changes: newer results are being made.
function isLate() {
  return document.getElementById("part")?.dataset.late !== undefined;
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
        if (old.matches("form")) replaceChoices(old, fresh);
        if (old.matches("form, .chart")) return false;
        // The same picture, which is shown already.
        if (old.dataset.from !== undefined && old.dataset.from === fresh.getAttribute("src")) return false;
        if (old.dataset.state !== undefined) {
          if (old.dataset.state !== fresh.dataset?.state) {
            old.dataset.state = fresh.dataset?.state ?? "";
            htmx.trigger(old, "again");
          }
          return false;
        }
        return true;
      },
      // What people have opened or ticked stays so.
      beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS") && name !== "checked",
    },
  });
  const now = document.getElementById("part");
  htmx.process(now);
  writeTimes(now);
  const scrolled = now.querySelector("pre.log");
  if (follows && scrolled) scrolled.scrollTop = scrolled.scrollHeight;
  // What else draws itself does so anew.
  document.dispatchEvent(new Event("normlab:replaced"));
}

// What people have chosen and typed stays.
function replaceChoices(old, fresh) {
  for (const select of old.querySelectorAll("select[data-fresh]")) {
    const { value } = select;
    select.replaceChildren(...fresh.querySelector(`select[name="${select.name}"]`).cloneNode(true).children);
    select.value = value;
  }
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

writeTimes(document);
for (const log of document.querySelectorAll("pre.log")) log.scrollTop = log.scrollHeight;
if (csrf) {
  follow();
  if (isLate()) window.setTimeout(refresh, REFRESH_MILLISECONDS);
  window.setInterval(refresh, STALE_MILLISECONDS);
}
