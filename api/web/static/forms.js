// Forms that create something: one document of their fields, what is wrong said beside its field, and then what was made.
"use strict";

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.create) return;
  event.preventDefault();
  clearProblems(form);
  const body = JSON.stringify(documentOf(form));
  const button = event.submitter ?? form.querySelector("button");
  const refuse = async (answer) => showProblems(form, await answer.json());
  const made = await request(button, "POST", form.dataset.create, { body, key: keyOf(form, body), refuse });
  if (!made) return;
  // Pressed again after that, another one is wanted.
  delete form.dataset.key;
  window.location.assign(form.dataset.then.replace(/\{(\w+)\}/g, (_, field) => encodeURIComponent(made[field])));
});

// `source.path` stands within `source`. What is empty is left out, so that the service's defaults hold.
function documentOf(form) {
  const whole = {};
  for (const field of fieldsOf(form)) {
    if (["checkbox", "radio"].includes(field.type) && !field.checked) continue;
    if (field.dataset.document) Object.assign(whole, JSON.parse(field.dataset.document));
    else if (field.value.trim() !== "") put(whole, field.name.split("."), field);
  }
  return whole;
}

function fieldsOf(form) {
  return [...form.elements].filter((one) => one.name && !one.matches(":disabled"));
}

function put(whole, path, field) {
  const last = path.pop();
  let inside = whole;
  for (const name of path) inside = inside[name] ??= {};
  inside[last] = field.dataset.type === "number" ? Number(field.value) : field.value.trim();
}

// The same document again has the same key, so that a second try makes nothing twice.
function keyOf(form, body) {
  if (form.dataset.key === undefined || form.dataset.body !== body) {
    form.dataset.key = makeKey();
    form.dataset.body = body;
  }
  return form.dataset.key;
}

// Problems --------------------------------------------------------------------------------------------------------------

let problemCount = 0;

function clearProblems(form) {
  show("message", "");
  for (const note of form.querySelectorAll(".wrong")) note.remove();
  for (const field of form.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
    describe(field, field.dataset.described);
  }
}

function describe(field, ids) {
  if (ids) field.setAttribute("aria-describedby", ids);
  else field.removeAttribute("aria-describedby");
}

// Each at its field, the first of which gets the focus; what belongs to no field here at the top of the page.
function showProblems(form, problem) {
  const homeless = [];
  let first = null;
  for (const error of problem.errors ?? []) {
    const place = placeOf(form, error.pointer ?? "");
    if (place === null) homeless.push(error);
    else first ??= showAt(place, error);
  }
  if (homeless.length || first === null) {
    const said = homeless.map((one) => `${one.pointer ?? one.parameter ?? ""} ${withRemedy(one)}`.trim());
    show("message", said.join(" · ") || problem.detail);
  }
  first?.focus();
}

function withRemedy(error) {
  return error.remedy ? `${error.detail}. ${error.remedy}` : error.detail;
}

// The field of this pointer, or of what it lies in.
function placeOf(form, pointer) {
  for (let path = pointer; path; path = path.slice(0, path.lastIndexOf("/"))) {
    const field = fieldsOf(form).find((one) => `/${one.name.replaceAll(".", "/")}` === path);
    const place = field ?? [...form.querySelectorAll("[data-pointer]")].find((one) => one.dataset.pointer.split(" ").includes(path));
    if (place) return place;
  }
  return null;
}

// Returns the field that has it.
function showAt(place, error) {
  const field = place.matches("fieldset") ? place.querySelector("input:enabled") : place;
  const note = document.createElement("p");
  note.className = "wrong";
  note.id = `wrong-${problemCount++}`;
  note.textContent = withRemedy(error);
  if (place.matches("fieldset")) place.append(note);
  else (place.closest("label") ?? place).after(note);
  field.setAttribute("aria-invalid", "true");
  field.dataset.described ??= field.getAttribute("aria-describedby") ?? "";
  describe(field, `${field.dataset.described} ${note.id}`.trim());
  for (let part = field.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
  return field;
}

// Of several kinds of a thing, the fields of the chosen one ----------------------------------------------------------------

function choose(select) {
  for (const part of select.form.querySelectorAll("[data-for]")) {
    const isChosen = part.dataset.for.split(" ").includes(select.value);
    part.hidden = part.disabled = !isChosen;
  }
}

document.addEventListener("change", (event) => event.target.matches("select[data-chooses]") && choose(event.target));
// A browser that comes back restores what was chosen.
window.addEventListener("pageshow", () => document.querySelectorAll("select[data-chooses]").forEach(choose));
