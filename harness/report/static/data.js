"use strict";

// The page's data, and text from data and models as nodes. No text ever becomes markup.

const CONTROLS = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu;
const KEPT = "\n\t\u200c\u200d";

const $ = (id) => document.getElementById(id);

function embedded(name, number) {
  const element = $(`${name}-${number}`);
  return element && JSON.parse(element.textContent);
}

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

// Text of somebody else's, isolated from the direction of what is around it; control characters are written out.
function foreign(text, tag = "bdi", attributes = {}) {
  const node = make(tag, { dir: "auto", ...attributes });
  let done = 0;
  for (const { 0: character, index } of text.matchAll(CONTROLS)) {
    if (KEPT.includes(character)) continue;
    const code = character.codePointAt(0).toString(16);
    const shown = code.length <= 2 ? `\\x${code.padStart(2, "0")}` : code.length <= 4 ? `\\u${code.padStart(4, "0")}` : `\\U${code.padStart(8, "0")}`;
    node.append(text.slice(done, index), make("span", { class: "control" }, shown));
    done = index + character.length;
  }
  node.append(text.slice(done));
  return node;
}

async function inflate(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function figure(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const digits = Number.isInteger(value) ? 0 : size < 10 ? 3 : size < 100 ? 2 : 1;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "−");
}

const whole = (value) => value.toLocaleString("en");

// A text may be cut: then it is [beginning, length, place of the whole].
const beginning = (text) => (Array.isArray(text) ? text[0] : text);

// The samples of a board with every run's answers.
class Samples {
  constructor(number) {
    Object.assign(this, embedded("samples", number));
    this.number = number;
    this.n = this.ids.length;
    this.lazy = {};
    // Scores that are no fractions are neither right nor wrong, but above or below the median.
    this.words = this.fraction ? { right: "right", wrong: "wrong" } : { right: "better", wrong: "worse" };
  }

  part(name) {
    this.lazy[name] ??= embedded(name, this.number);
    return this.lazy[name];
  }

  // The pictures of a row, as addresses that hold them.
  pictures(row) {
    const { of, thumbnails } = this.part("pictures");
    return (of[row] ?? []).map((place) => `data:image/webp;base64,${thumbnails[place]}`);
  }

  get hasPictures() {
    return this.part("pictures").thumbnails.length > 0;
  }

  // "right", "wrong", "failed", "missing" (not answered yet) or "unscored".
  outcome(run, row) {
    const answers = this.runs[run];
    if (row in answers.failures) return "failed";
    if (answers.text[row] === null) return "missing";
    const value = this.value(run, row);
    if (value === null) return "unscored";
    return value >= this.halving === this.rises ? "right" : "wrong";
  }

  value(run, row) {
    return this.runs[run].scores[this.main]?.[row] ?? null;
  }

  // What a search looks through.
  text(row) {
    if (!this.texts) {
      this.texts = Array.from({ length: this.n }, (_, place) => this.allText(place).toLowerCase());
    }
    return this.texts[row];
  }

  allText(row) {
    const answers = this.runs.map((run) => beginning(run.text[row]) ?? run.failures[row]?.map(beginning).join("\n") ?? "");
    const references = this.references[row].map(([text]) => beginning(text));
    return [this.ids[row], beginning(this.questions[row]), ...references, ...answers].join("\n");
  }

  // The whole of a cut text, as far as the page has it; null where it has no more than the beginning.
  async whole(place) {
    const packed = this.part("long")[place];
    return packed === undefined ? null : new TextDecoder().decode(await inflate(packed));
  }

  // A run's trace of a row: maps with their patches' values as bytes, and scalars. Null where there is none.
  async trace(run, row) {
    const traces = this.part("traces")[this.runs[run].letter];
    const packed = traces?.rows[row];
    if (!packed) return null;
    const [layout, bounds, patches, scalars] = packed;
    const bytes = patches ? await inflate(patches) : new Uint8Array();
    let at = 0;
    const maps = traces.layouts[layout].map(([name, rows, columns], place) => {
      const levels = bytes.subarray(at, (at += rows * columns));
      return { name, rows, columns, levels, low: bounds[place][0], high: bounds[place][1] };
    });
    return { maps: maps.filter((map) => map.levels.length), scalars };
  }
}
