// Adds a webhook and shows the secret that its messages are signed with, which the service tells only once.
"use strict";

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.id !== "new-webhook") return;
  event.preventDefault();
  clearProblems(form);
  form.querySelector("output").hidden = true;
  const button = form.querySelector("button[type=submit]");
  const refuse = async (answer) => showProblems(form, await answer.json());
  const webhook = await request(button, "POST", "/api/v1/webhooks", { body: JSON.stringify(documentOf(form)), refuse });
  if (!webhook) return;
  // Mail is not signed.
  if (webhook.secret) tell(form, `Webhook ${webhook.id}`, webhook.secret);
  else showDone(`Webhook ${webhook.id} is added: mail is sent to ${webhook.url.replace("mailto:", "")}.`);
  form.elements.url.value = "";
  refresh();
});
