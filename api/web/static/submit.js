// The page to submit from: an editor that completes and marks, what the service says of the document, and the button.
"use strict";

const CHECK_MILLISECONDS = 600;
const area = document.getElementById("text");
const outcome = document.getElementById("outcome");
const draftName = `draft of ${area.dataset.user}: ${window.location.search}`;
const sentName = `${draftName}, sent`;

// What a browser keeps for this tab; where it keeps nothing, the page works without drafts --------------------------------

function keptText(name) {
  try {
    return window.sessionStorage.getItem(name);
  } catch {
    return null;
  }
}

function keepText(name, text) {
  try {
    if (text === null) window.sessionStorage.removeItem(name);
    else window.sessionStorage.setItem(name, text);
  } catch {
    // Full, or forbidden.
  }
}

// The editor ----------------------------------------------------------------------------------------------------------

// CodeMirror in place of the textarea. It stands in a shadow root: there its styles are sheets that the root adopts, where
// elsewhere they would be <style> elements, which the policy of the page refuses.
function makeEditor(text) {
  area.value = text;
  if (!window.CodeMirror || !("adoptedStyleSheets" in ShadowRoot.prototype)) return makePlainEditor();
  const { EditorView, keymap } = CodeMirror;
  const host = document.getElementById("editor");
  const root = host.attachShadow({ mode: "open" });
  const [label] = area.labels;
  const view = new EditorView({
    doc: text,
    root,
    parent: root,
    extensions: [
      CodeMirror.lineNumbers(),
      CodeMirror.history(),
      CodeMirror.closeBrackets(),
      CodeMirror.autocompletion({ override: [complete], icons: false, compareCompletions: () => 0 }),
      CodeMirror.lintGutter(),
      keymap.of([
        { key: "Tab", run: CodeMirror.acceptCompletion },
        { key: "Enter", run: breakLine },
        { key: "F8", run: CodeMirror.nextDiagnostic },
        ...CodeMirror.closeBracketsKeymap,
        ...CodeMirror.historyKeymap,
        ...lineKeys(),
        ...CodeMirror.standardKeymap,
      ]),
      EditorView.lineWrapping,
      EditorView.contentAttributes.of({ "aria-label": label.textContent, tabindex: "0" }),
      EditorView.domEventHandlers({ beforeinput: replaceSelection }),
      EditorView.updateListener.of((update) => update.docChanged && changed()),
      highlighter(),
      EditorView.theme(THEME),
    ],
  });
  area.hidden = true;
  host.hidden = false;
  label.addEventListener("click", () => view.focus());
  const positionOf = (line, column) => {
    const found = view.state.doc.line(Math.min(line, view.state.doc.lines));
    return Math.min(found.from + column - 1, found.to);
  };
  return {
    text: () => view.state.doc.toString(),
    replace: (fresh) => view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: fresh } }),
    mark(problems) {
      const diagnostics = problems.map(({ line, column, message }) => {
        const from = positionOf(line, column);
        // The key, with its value where that is on the same line and short.
        const rest = view.state.doc.lineAt(from).text.slice(from - view.state.doc.lineAt(from).from);
        const length = rest.match(/^[^\s,{}[\]#]*(?:\s+[^\s,{}[\]#]+)?/)[0].length;
        return { from, to: from + length, severity: "error", message };
      });
      view.dispatch(CodeMirror.setDiagnostics(view.state, diagnostics));
    },
    goTo(line, column) {
      view.dispatch({ selection: { anchor: positionOf(line, column) }, scrollIntoView: true });
      view.focus();
    },
  };
}

// What CodeMirror's default keymap has of lines; the rest of it needs a language.
function lineKeys() {
  const { copyLineDown, copyLineUp, deleteLine, indentLess, indentMore, moveLineDown, moveLineUp } = CodeMirror;
  return [
    { key: "Alt-ArrowUp", run: moveLineUp, shift: copyLineUp },
    { key: "Alt-ArrowDown", run: moveLineDown, shift: copyLineDown },
    { key: "Shift-Mod-k", run: deleteLine },
    { key: "Mod-[", run: indentLess },
    { key: "Mod-]", run: indentMore },
  ];
}

function makePlainEditor() {
  area.addEventListener("input", changed);
  return {
    text: () => area.value,
    replace(fresh) {
      area.value = fresh;
      changed();
    },
    mark() {},
    goTo(line, column) {
      const before = area.value.split("\n").slice(0, line - 1);
      const at = before.join("\n").length + Math.min(before.length, 1) + column - 1;
      area.focus();
      area.setSelectionRange(at, at);
    },
  };
}

// Typing over a selection: a browser that does it itself keeps the look of what was there by a style attribute, which the
// policy refuses as well.
function replaceSelection(event, view) {
  const { from, to, empty } = view.state.selection.main;
  if (empty || event.inputType !== "insertText" || event.data === null || event.isComposing) return false;
  const insert = () => view.state.update({
    changes: { from, to, insert: event.data },
    selection: { anchor: from + event.data.length },
    scrollIntoView: true,
    userEvent: "input.type",
  });
  const handlers = view.state.facet(CodeMirror.EditorView.inputHandler);
  if (!handlers.some((handle) => handle(view, from, to, event.data, insert))) view.dispatch(insert());
  return true;
}

// Behind a key that has no value yet the next line is further in.
function breakLine(view) {
  const { state } = view;
  const { from, to } = state.selection.main;
  const line = state.doc.lineAt(from);
  if (from !== to || from !== line.to || !/^[^#]*:\s*$/.test(line.text)) return false;
  const insert = `\n${line.text.match(/^ *(?:- +)*/)[0].replaceAll("-", " ")}  `;
  view.dispatch({ changes: { from, insert }, selection: { anchor: from + insert.length }, scrollIntoView: true, userEvent: "input" });
  return true;
}

const MONOSPACE = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';
const THEME = {
  "&": { fontSize: ".85rem", border: "1px solid var(--field)", borderRadius: "6px", backgroundColor: "var(--paper)", color: "var(--text)", overflow: "hidden" },
  "&.cm-focused": { outline: "2px solid var(--mark)", outlineOffset: "-1px" },
  ".cm-scroller": { fontFamily: MONOSPACE, lineHeight: "1.5", maxHeight: "75vh", overflow: "auto" },
  ".cm-content, .cm-gutter": { minHeight: "24rem" },
  ".cm-content": { caretColor: "var(--text)", padding: ".6rem 0" },
  ".cm-gutters": { backgroundColor: "var(--panel)", color: "var(--quiet)", borderRight: "1px solid var(--line)" },
  ".cm-tooltip": { backgroundColor: "var(--panel)", color: "var(--text)", border: "1px solid var(--line)", borderRadius: "4px" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": { fontFamily: MONOSPACE, maxHeight: "16em" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": { padding: ".15rem .5rem" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--mark)", color: "var(--on-mark)" },
  ".cm-completionDetail": { fontStyle: "normal" },
  ".cm-tooltip.cm-completionInfo": { padding: ".4rem .6rem", whiteSpace: "normal" },
  ".cm-diagnostic": { padding: ".4rem .6rem", whiteSpace: "pre-wrap" },
  ".cm-diagnostic-error": { borderLeft: "4px solid var(--bad)" },
  ".cm-key": { color: "var(--link)" },
  ".cm-quoted": { color: "var(--better)" },
  ".cm-comment": { color: "var(--quiet)" },
};

// Comments, quoted texts and keys, line by line.
function highlighter() {
  const { Decoration, MatchDecorator, ViewPlugin } = CodeMirror;
  const marks = Object.fromEntries(["comment", "quoted", "key"].map((name) => [name, Decoration.mark({ class: `cm-${name}` })]));
  const matches = new MatchDecorator({
    regexp: /(?<comment>(?<=^|\s)#.*)|(?<quoted>"[^"]*"|'[^']*')|(?<key>(?<=^\s*(?:- +)*|[{,]\s*)[^\s"'#{}[\],&*!|>%@`-][^#:,{}[\]]*(?=:(?:\s|$)))/g,
    decoration: (match) => marks[Object.keys(marks).find((name) => match.groups[name] !== undefined)],
  });
  const make = (view) => ({ decorations: matches.createDeco(view), update(update) { this.decorations = matches.updateDeco(update, this.decorations); } });
  return ViewPlugin.define(make, { decorations: (plugin) => plugin.decorations });
}

// Completion ----------------------------------------------------------------------------------------------------------

let schemaReader = null;

async function loadSchemas() {
  try {
    const [study, job] = await Promise.all(
      ["study", "job"].map(async (name) => {
        const answer = await fetch(`/api/v1/schemas/${name}`);
        if (!answer.ok) throw new Error();
        return answer.json();
      }),
    );
    schemaReader = new SchemaReader(joinSchemas(study, job));
  } catch {
    // Nothing is completed; what is written is checked all the same.
  }
}

function complete(context) {
  if (schemaReader === null) return null;
  const text = context.state.doc.toString();
  const found = completionsAt(schemaReader, JSON.parse(area.dataset.datasets), text, context.pos);
  if (found === null || (!context.explicit && !found.word && found.role !== "value")) return null;
  // Whoever breaks the line behind a key means to write what it has below it.
  const options = found.options.filter((one) => context.explicit || found.word || !one.isWhole);
  const hasColon = /^[^\s:,}\]]*\s*:/.test(text.slice(context.pos, context.pos + 100));
  return {
    from: found.from,
    options: options.map((one) => ({ ...one, apply: one.isKey && !hasColon ? `${one.label}: ` : one.label })),
    validFor: /^[\w.-]*$/,
  };
}

// What the service says -----------------------------------------------------------------------------------------------

let checkTimer = null;
let isCheckRunning = false;
let isCheckDue = false;

function changed() {
  const text = editor.text();
  keepText(draftName, text === area.defaultValue ? null : text);
  for (const button of outcome.querySelectorAll("button[data-submit]")) button.disabled = true;
  checkSoon(CHECK_MILLISECONDS);
}

function checkSoon(milliseconds) {
  window.clearTimeout(checkTimer);
  checkTimer = window.setTimeout(check, milliseconds);
}

async function check() {
  if (isCheckRunning) {
    isCheckDue = true;
    return;
  }
  isCheckRunning = true;
  isCheckDue = false;
  const text = editor.text();
  try {
    const headers = { "X-CSRF-Token": csrf, "Content-Type": "application/yaml", "HX-Request": "true" };
    const answer = await fetch("/submit/check", { method: "POST", headers, body: text });
    if (answer.status === 401) return void toLogin();
    if (answer.ok) {
      if (text === editor.text()) showOutcome(await answer.text());
      show("trouble", "");
    } else show("trouble", `The document can't be checked: the service answers ${answer.status}. Reload the page; your text is kept.`);
  } catch {
    show("trouble", "The service does not answer; your text is kept, and is checked when it does.");
    checkSoon(RETRY_MILLISECONDS);
  } finally {
    isCheckRunning = false;
    if (isCheckDue) check();
  }
}

// What somebody opened stays open.
function showOutcome(html) {
  const open = [...outcome.querySelectorAll("details[open]")].map((one) => one.id);
  outcome.innerHTML = html;
  for (const one of outcome.querySelectorAll("details")) one.open = open.includes(one.id);
  const { summary, retry } = outcome.firstElementChild.dataset;
  document.getElementById("checked").textContent = summary;
  const problems = [...outcome.querySelectorAll("[data-line]")];
  editor.mark(problems.map((one) => ({ ...placeOf(one), message: messageOf(one) })));
  if (retry) checkSoon(1000 * Number(retry));
}

function messageOf(problem) {
  return [...problem.querySelectorAll(".what p")].map((one) => one.textContent).join("\n");
}

function placeOf(problem) {
  return { line: Number(problem.dataset.line), column: Number(problem.dataset.column) };
}

outcome.addEventListener("click", (event) => {
  const problem = event.target.closest("a.place")?.closest("[data-line]");
  if (problem) {
    event.preventDefault();
    const { line, column } = placeOf(problem);
    editor.goTo(line, column);
  }
  const button = event.target.closest("button[data-submit]");
  if (button) submitDocument(button);
});

// One key for one text, until it has been accepted: a second try is harmless.
let sent = JSON.parse(keptText(sentName) ?? "null");

function keyOf(text) {
  if (sent?.text !== text) sent = { text, key: makeKey() };
  keepText(sentName, JSON.stringify(sent));
  return sent.key;
}

async function submitDocument(button) {
  const text = editor.text();
  const made = await request(button, "POST", button.dataset.submit, { body: text, type: "application/yaml", key: keyOf(text) });
  if (!made) return void check();
  button.disabled = true;
  sent = null;
  keepText(sentName, null);
  keepText(draftName, null);
  window.location.assign(`${button.dataset.then}/${made.id}`);
}

// -----------------------------------------------------------------------------------------------------------------------

const draft = keptText(draftName);
const editor = makeEditor(draft ?? area.defaultValue);
const restored = document.getElementById("restored");
restored.hidden = draft === null;
restored.querySelector("button").addEventListener("click", () => {
  editor.replace(area.defaultValue);
  restored.hidden = true;
});
document.getElementById("checked").textContent = "Checking …";
loadSchemas();
check();
// Back from the page of what was submitted, as the browser kept this one.
window.addEventListener("pageshow", (event) => event.persisted && check());
