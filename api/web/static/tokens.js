// Makes a token; and, of whatever was made with one, shows the secret, which the service tells only once.
"use strict";

const DAY_MILLISECONDS = 86400000;

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.id !== "new-token") return;
  event.preventDefault();
  const { name, days, user, scope } = form.elements;
  const body = { name: name.value, scope: scope.value };
  if (days.value) body.expires_at = new Date(Date.now() + DAY_MILLISECONDS * days.value).toISOString();
  if (user) body.user = user.value;
  const button = form.querySelector("button[type=submit]");
  const token = await request(button, "POST", "/api/v1/tokens", { body: JSON.stringify(body) });
  if (!token) return;
  tell(form, `The token “${token.name}” of ${token.user}`, token.secret);
  name.value = "";
  refresh();
});

function tell(form, words, secret) {
  const output = form.querySelector("output");
  output.querySelector("strong").textContent = words;
  output.querySelector("input").value = secret;
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
