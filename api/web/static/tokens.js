// Makes a token and shows its secret, which the service tells only once.
"use strict";

const DAY_MILLISECONDS = 86400000;

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.id !== "new-token") return;
  event.preventDefault();
  const { name, days, user } = form.elements;
  const body = { name: name.value };
  if (days.value) body.expires_at = new Date(Date.now() + DAY_MILLISECONDS * days.value).toISOString();
  if (user) body.user = user.value;
  const button = form.querySelector("button[type=submit]");
  button.disabled = true;
  try {
    const headers = { "X-CSRF-Token": csrf, "Content-Type": "application/json" };
    const answer = await fetch("/api/v1/tokens", { method: "POST", headers, body: JSON.stringify(body) });
    if (answer.status === 401) return void toLogin();
    if (!answer.ok) return void show("message", await detailOf(answer));
    show("message", "");
    tell(form, await answer.json());
    name.value = "";
    refresh();
  } catch {
    show("message", "The service does not answer. Once it does, the page shows whether a token was made.");
  } finally {
    button.disabled = false;
  }
});

function tell(form, token) {
  const output = form.querySelector("output");
  output.querySelector("strong").textContent = `The token “${token.name}” of ${token.user}`;
  output.querySelector("input").value = token.secret;
  output.querySelector("button").textContent = "Copy";
  output.hidden = false;
  output.querySelector("input").select();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("output.secret button");
  if (button === null) return;
  const field = button.parentElement.querySelector("input");
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    button.textContent = "Copied";
  } catch {
    // Without TLS, on another machine, a page may not write there.
    button.textContent = document.execCommand("copy") ? "Copied" : "Press Ctrl+C";
  }
});
