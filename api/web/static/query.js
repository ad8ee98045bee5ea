// A query that is wrong somewhere: the cursor stands there.
"use strict";

const wrong = document.querySelector("[data-position]");
if (wrong !== null) {
  // The service counts characters, a browser their UTF-16 units.
  const place = [...wrong.value].slice(0, Number(wrong.dataset.position)).join("").length;
  wrong.focus();
  wrong.setSelectionRange(place, place);
}
