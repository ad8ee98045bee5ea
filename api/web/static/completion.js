// What may be written at a place in a YAML document, by the JSON Schemas of jobs and studies. Knows nothing of the page.
"use strict";

// Reading YAML that is being written ---------------------------------------------------------------------------------

// The step of a path into a list, whichever of its items.
const ITEM = "*";
const KEY = /^("[^"]*"|'[^']*'|[^\s"'#{}[\],&*!|>%@`][^#]*?)\s*:(?=\s|$)\s*/;
const SCALAR = /^(?:"[^"]*"?|'[^']*'?|(?:(?!\s#).)*)/;

// A mapping, a list or a text: whichever its lines make of it.
function makeNode() {
  return { entries: new Map(), items: [], text: null };
}

function unquote(text) {
  return /^(["']).*\1$/.test(text) ? text.slice(1, -1) : text;
}

// Reads a whole document, finished or not, into nodes, and finds the place of the cursor: null in comments and in texts of
// several lines. A place's `path` leads to the mapping whose key is being written (`role` "key"), to the value ("value"), or
// to the item of a list, which may become either ("either"); `nodes` are those on the way, from the root on; `word` is what
// stands there up to the cursor, `from` where it begins.
class YamlReader {
  constructor(text, cursor) {
    this.text = text;
    this.cursor = cursor;
    this.root = makeNode();
    this.place = null;
    // What the current line is inside of, from the outside in, by indentation.
    this.blocks = [{ indent: -1, path: [], nodes: [this.root] }];
  }

  read() {
    for (let at = 0; at <= this.text.length; ) at = this.readLine(at, this.endOfLine(at)) + 1;
    return { root: this.root, place: this.place };
  }

  endOfLine(at) {
    const end = this.text.indexOf("\n", at);
    return end < 0 ? this.text.length : end;
  }

  get block() {
    return this.blocks.at(-1);
  }

  around(indent) {
    return this.blocks.filter((one) => one.indent < indent);
  }

  inside(block, segment) {
    const node = makeNode();
    const outer = block.nodes.at(-1);
    if (segment === ITEM) outer.items.push(node);
    else outer.entries.set(segment, node);
    return { path: [...block.path, segment], nodes: [...block.nodes, node] };
  }

  enter(segment, indent) {
    this.blocks.push({ ...this.inside(this.block, segment), indent });
  }

  note({ path, nodes }, from, role) {
    // Behind a colon or a dash there must be a space first.
    if (this.place !== null || (role !== "key" && /[:-]/.test(this.text[from - 1]))) return;
    this.place = { path, nodes, role, from, word: this.text.slice(from, this.cursor) };
  }

  // The end of the line, or of the last one of what begins on it.
  readLine(start, end) {
    let at = start + this.text.slice(start, end).match(/^ */)[0].length;
    if (at === end || this.text[at] === "#") {
      if (this.cursor >= start && this.cursor <= at) this.note(this.around(this.cursor - start).at(-1) ?? this.blocks[0], this.cursor, "key");
      return end;
    }
    let role = "key";
    for (let dash; (dash = this.text.slice(at, end).match(/^-(?:\s+|$)/)); at += dash[0].length) {
      // An item may stand as far left as the key of its list.
      this.blocks = this.around(at - start + 0.5);
      this.enter(ITEM, at - start + 0.5);
      role = "either";
    }
    this.blocks = this.around(at - start);
    const key = this.text.slice(at, end).match(KEY);
    if (key === null) return this.readValue(at, end, role);
    if (this.cursor >= at && this.cursor <= at + key[1].length) this.note(this.block, at, "key");
    this.enter(unquote(key[1]), at - start);
    return this.readValue(at + key[0].length, end, "value");
  }

  readValue(begin, end, role) {
    const at = begin + this.text.slice(begin, end).match(/^(?:[&!]\S*\s+)*/)[0].length;
    if (/[{[]/.test(this.text[at] ?? "")) return this.endOfLine(this.readFlow(at, this.block, this.block.indent));
    if (/[|>]/.test(this.text[at] ?? "")) return this.endOfText(end);
    const value = this.text.slice(at, end).match(SCALAR)[0];
    if (this.cursor >= at && this.cursor <= at + value.length) this.note(this.block, at, role);
    if (value.trim()) this.block.nodes.at(-1).text = unquote(value.trim());
    return end;
  }

  // Of `|` and `>`: all lines further in.
  endOfText(end) {
    let last = end;
    for (let next = end; next < this.text.length; ) {
      const start = next + 1;
      next = this.endOfLine(start);
      const indent = this.text.slice(start, next).search(/\S/);
      if (indent >= 0 && indent <= this.block.indent) break;
      if (indent >= 0) last = next;
    }
    return last;
  }

  // From a bracket on, to behind the one that closes it; where that is missing, to the first line that isn't further in.
  readFlow(at, block, indent) {
    const isMapping = this.text[at] === "{";
    let member = isMapping ? null : this.inside(block, ITEM);
    let from = at + 1;
    let here = from;
    // What stands since `from` is whole: a key, a value or an item.
    const finish = () => {
      const written = this.text.slice(from, here);
      const start = written.trim() ? from + written.search(/\S/) : Math.max(from, Math.min(this.cursor, here));
      if (this.cursor >= start && this.cursor <= here) {
        this.note(member ?? block, start, member === null ? "key" : isMapping ? "value" : "either");
      }
      if (member !== null && written.trim()) member.nodes.at(-1).text = unquote(written.trim());
      return written.trim();
    };
    while (here < this.text.length) {
      const character = this.text[here];
      if (/["']/.test(character) && !this.text.slice(from, here).trim()) here = this.endOfQuoted(here);
      else if (/[{[]/.test(character)) {
        here = this.readFlow(here, member ?? block, indent);
        from = Infinity;
      } else if (character === ":" && isMapping && member === null && /\s/.test(this.text[here + 1] ?? " ")) {
        member = this.inside(block, unquote(finish()));
        from = here += 1;
      } else if (character === ",") {
        finish();
        member = isMapping ? null : this.inside(block, ITEM);
        from = here += 1;
      } else if (/[}\]]/.test(character)) {
        finish();
        return here + 1;
      } else if (character === "\n" && this.leaves(here + 1, indent)) break;
      else if (character === "#" && /\s/.test(this.text[here - 1])) here = this.endOfLine(here);
      else here += 1;
    }
    finish();
    return here;
  }

  endOfQuoted(at) {
    const end = this.text.indexOf(this.text[at], at + 1);
    return end < 0 ? this.endOfLine(at) : end + 1;
  }

  // Whether the line at `start` is outside of what is indented further than `indent`.
  leaves(start, indent) {
    const line = this.text.slice(start, this.endOfLine(start));
    return /^ *[^\s}\]]/.test(line) && line.search(/\S/) <= indent;
  }
}

// What the schemas allow ---------------------------------------------------------------------------------------------

// One schema of both, in which a study knows jobs: its base, its variants and what it pretrains are parts of one.
function joinSchemas(study, job) {
  const { project, seed, ...properties } = job.properties;
  const part = { type: "object", properties };
  const { base, variants, pretrain } = study.properties;
  const joined = {
    ...study.properties,
    base: { ...part, description: base.description },
    variants: { ...variants, additionalProperties: part },
    pretrain: { ...part, description: pretrain.description },
  };
  return { anyOf: [{ ...study, properties: joined }, job], $defs: { ...study.$defs, ...job.$defs } };
}

// References followed and unions taken apart.
function alternativesOf(schema, defs) {
  if (typeof schema !== "object" || schema === null) return [];
  if (schema.$ref) {
    const { $ref, ...own } = schema;
    return alternativesOf(defs[$ref.split("/").pop()], defs).map((one) => ({ ...one, ...own }));
  }
  const union = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  return union ? union.flatMap((one) => alternativesOf(one, defs)) : [schema];
}

// Those that allow most of what the node has: of norms, the one of its kind. `edited`: the key that doesn't count.
function fitting(alternatives, node, edited) {
  const entries = [...node.entries].filter(([key]) => key !== edited);
  const scores = alternatives.map((one) => entries.filter(([key, inside]) => allows(one.properties?.[key], inside)).length);
  const best = Math.max(...scores);
  return alternatives.filter((_, index) => scores[index] === best);
}

function allows(property, node) {
  if (property === undefined) return false;
  if (node.text === null) return true;
  const values = property.const === undefined ? property.enum : [property.const];
  if (values) return values.map(String).includes(node.text);
  return !property.pattern || new RegExp(property.pattern).test(node.text);
}

function nodeAt(root, path) {
  return path.reduce((node, key) => node.entries.get(key) ?? makeNode(), root);
}

// What isn't a dotted path where those may stand.
const NO_PATHS = new Set(["seeds", "budget", "settings", "variant"]);

// Where a place behind a dotted path (of a matrix, of tuning, of a further point) would be in the base.
function spellOut({ path, nodes }) {
  const isPoint = path[0] === "include" || path[0] === "exclude";
  const at = isPoint || (path[0] === "tune" && path[1] === "settings") ? 2 : 1;
  const behind = at + (isPoint ? 1 : 2);
  if (!(isPoint || path[0] === "matrix" || path[0] === "tune") || path.length < behind || NO_PATHS.has(path[at])) return { path, nodes };
  const dotted = ["base", ...path[at].split(".")];
  const above = dotted.map((_, index) => nodeAt(nodes[0], dotted.slice(0, index)));
  return { path: [...dotted, ...path.slice(behind)], nodes: [...above, ...nodes.slice(behind)] };
}

// Whether keys are dotted paths there.
function takesPaths([first, ...rest]) {
  switch (first) {
    case "matrix": return rest.length === 0;
    case "tune": return rest.length === 0 || (rest.length === 1 && rest[0] === "settings");
    case "search": return rest.length === 1 && rest[0] === "space";
    case "include": case "exclude": return rest.length === 1;
    default: return false;
  }
}

class SchemaReader {
  constructor(schema) {
    this.schema = schema;
  }

  // What may be at the end of a path; on the way, of each union the alternatives that fit what is there.
  at({ path, nodes }) {
    return path.reduce(
      (found, segment, index) => fitting(found, nodes[index]).flatMap((one) => this.step(one, segment)),
      this.alternatives(this.schema),
    );
  }

  step(schema, segment) {
    if (segment === ITEM) return this.alternatives(schema.items ?? schema.prefixItems?.[0]);
    return this.alternatives(schema.properties?.[segment] ?? schema.additionalProperties);
  }

  alternatives(schema) {
    return alternativesOf(schema, this.schema.$defs);
  }

  keys(place) {
    const node = place.nodes.at(-1);
    const options = new Map();
    for (const one of fitting(this.at(place), node)) {
      for (const [label, property] of Object.entries(one.properties ?? {})) {
        if (options.has(label)) continue;
        const described = property.description ? property : this.alternatives(property.$ref && property)[0];
        options.set(label, { label, isKey: true, detail: usually(property, one.required?.includes(label)), info: inOneLine(described) });
      }
    }
    if (takesPaths(place.path)) {
      const labels = [...(place.path.at(-1) === ITEM ? ["variant"] : []), ...this.dottedPaths(place.nodes[0])];
      for (const label of labels) options.set(label, { label, isKey: true });
    }
    return [...options.values()].filter(({ label }) => !node.entries.has(label));
  }

  dottedPaths(root) {
    const names = (path) => {
      const place = { path, nodes: path.map((_, index) => nodeAt(root, path.slice(0, index))) };
      return fitting(this.at(place), nodeAt(root, path)).flatMap((one) => Object.keys(one.properties ?? {}));
    };
    return new Set(names(["base"]).flatMap((section) => names(["base", section]).map((name) => `${section}.${name}`)));
  }

  values({ path, nodes }) {
    const last = path.at(-1);
    const options = new Map();
    const add = (label, more) => options.has(label) || options.set(label, { label, ...more });
    const parents = path.length ? this.at({ path: path.slice(0, -1), nodes }) : [];
    const owners = fitting(parents, nodes.at(-2) ?? makeNode(), last);
    // Of the word that chooses between alternatives all are offered, also those that other options here don't fit.
    const chosen = parents.filter((one) => one.properties?.[last]?.const !== undefined && !owners.includes(one));
    for (const owner of [...owners, ...chosen]) {
      for (const one of this.step(owner, last)) {
        if (one.const !== undefined) add(String(one.const), { info: inOneLine(owner) });
        for (const value of one.enum ?? (one.type === "boolean" ? [true, false] : [])) add(String(value), { info: inOneLine(one) });
        const [tag, inside] = Object.entries(one.properties ?? {}).find(([name, { const: value }]) => value !== undefined && one.required?.includes(name)) ?? [];
        if (tag) add(`{${tag}: ${inside.const}}`, { info: inOneLine(one), isWhole: true });
      }
      const { default: usual, examples = [] } = owner.properties?.[last] ?? {};
      for (const example of examples) add(String(example), {});
      if (["string", "number", "boolean"].includes(typeof usual) && usual !== "") {
        add(String(usual), {});
        options.get(String(usual)).detail = "default";
      }
    }
    return [...options.values()];
  }
}

function usually(property, isRequired) {
  if (isRequired) return "required";
  const usual = property.default?.kind ?? property.default;
  return ["string", "number", "boolean"].includes(typeof usual) && usual !== "" ? `default ${usual}` : undefined;
}

function inOneLine(schema) {
  return schema?.description?.replace(/\s+/g, " ");
}

// What the word at the cursor may become: where it begins, its role, and options; null where nothing can be said. `datasets`
// are the names of those that are registered.
function completionsAt(reader, datasets, text, cursor) {
  const { root, place: written } = new YamlReader(text, cursor).read();
  if (written === null || written.word.includes("#")) return null;
  const place = { ...written, ...spellOut(written) };
  const names = new Map([
    ["dataset.name", datasets],
    ["baseline", [...(root.entries.get("variants")?.entries.keys() ?? [])]],
    ["*.variant", [...(root.entries.get("variants")?.entries.keys() ?? [])]],
  ]);
  const named = (names.get(place.path.slice(-2).join(".")) ?? []).map((label) => ({ label }));
  const values = place.role === "key" ? [] : [...named, ...reader.values(place)];
  return { ...written, options: place.role === "value" ? values : [...values, ...reader.keys(place)] };
}
