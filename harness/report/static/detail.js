"use strict";

// One sample: pictures, question, references, every run's answer, its cost, its trace.

const MARKS = { right: "✓", wrong: "✗", failed: "!", missing: "…", unscored: "–" };
const USAGE = ["prompt tokens", "visual tokens", "of full visual tokens", "generated tokens"];

function letterOf(samples, run) {
  const { letter } = samples.runs[run];
  return make("span", { class: `letter run-${letter.charCodeAt(0) % 8}` }, letter);
}

function badge(samples, run, row) {
  const outcome = samples.outcome(run, row);
  const value = samples.value(run, row);
  const exact = value === null || value === 0 || value === 1 ? "" : ` ${figure(value)}`;
  return make("span", { class: `badge ${outcome}` }, make("span", { "aria-hidden": "true" }, MARKS[outcome]), ` ${samples.words[outcome] ?? outcome}${exact}`);
}

// A text that may be cut, with a button for the rest of it.
function longText(samples, text, tag, attributes) {
  const node = foreign(beginning(text), tag, attributes);
  if (!Array.isArray(text)) return [node];
  const [shown, length, place] = text;
  if (!(place in samples.part("long"))) return [node, make("p", { class: "remark" }, `The first ${whole(shown.length)} of ${whole(length)} characters.`)];
  const more = make("button", { type: "button", class: "quiet" }, `Show all ${whole(length)} characters`);
  more.addEventListener("click", async () => {
    const all = await samples.whole(place);
    node.replaceWith(foreign(all, tag, attributes));
    const kept = Array.from(all).length;
    more.replaceWith(make("p", { class: "remark" }, kept < length ? `The first ${whole(kept)} of ${whole(length)} characters; more is not in this page.` : `All ${whole(length)} characters.`));
  });
  return [node, more];
}

class Detail {
  constructor(node, actions) {
    this.node = node;
    this.actions = actions;
    this.map = null;
    this.opacity = 0.6;
  }

  get isOpen() {
    return !this.node.hidden;
  }

  close() {
    this.node.hidden = true;
    this.row = null;
  }

  async show(samples, row) {
    this.samples = samples;
    this.row = row;
    this.node.hidden = false;
    this.gallery = make("div", { class: "gallery" });
    this.controls = make("div", { class: "map-controls" });
    this.node.replaceChildren(this.heading(), ...this.question(), this.gallery, this.controls, ...this.about(), this.answers());
    this.node.scrollTop = 0;
    this.traces = [];
    this.drawGallery();
    const traces = await Promise.all(samples.runs.map((_, run) => samples.trace(run, row)));
    if (this.row !== row || this.samples !== samples) return; // another sample was opened meanwhile
    this.traces = traces;
    this.drawControls();
    this.drawGallery();
    this.drawScalars();
  }

  heading() {
    const { ids } = this.samples;
    const button = (label, text, action) => {
      const node = make("button", { type: "button", class: "quiet", "aria-label": label }, text);
      node.addEventListener("click", action);
      return node;
    };
    return make(
      "header", {},
      make("h3", { id: "detail-title" }, make("span", { class: "unseen" }, "Sample "), foreign(ids[this.row])),
      make("span", { class: "buttons" },
        button("Previous sample", "↑", () => this.actions.move(-1)),
        button("Next sample", "↓", () => this.actions.move(1)),
        button("Close", "✕", () => this.actions.close())),
    );
  }

  question() {
    const text = this.samples.questions[this.row];
    return beginning(text) ? longText(this.samples, text, "p", { class: "asked" }) : [];
  }

  about() {
    const { samples, row } = this;
    const facets = Object.entries(samples.facets).filter(([, facet]) => facet.codes[row] >= 0);
    const references = samples.references[row].map(([text, times]) =>
      make("li", {}, ...longText(samples, text, "bdi"), ...(times > 1 ? [make("small", {}, ` × ${times}`)] : [])));
    return [
      make("section", {}, make("h4", {}, "References"),
        references.length ? make("ul", { class: "references" }, ...references) : make("p", { class: "remark" }, "none")),
      ...(facets.length ? [make("ul", { class: "tags", "aria-label": "Kinds" },
        ...facets.map(([name, facet]) => make("li", {}, foreign(name), " ", foreign(facet.keys[facet.codes[row]], "b"))))] : []),
    ];
  }

  answers() {
    return make("div", { class: "answers" }, ...this.samples.runs.map((_, run) => this.answer(run)));
  }

  answer(run) {
    const { samples, row } = this;
    const { name, text, failures, usage, scores, shown } = samples.runs[run];
    const failure = failures[row];
    const said = failure
      ? [foreign(failure[0], "p", { class: "kind" }), ...longText(samples, failure[1], "pre", { class: "said" })]
      : text[row] === null
        ? [make("p", { class: "remark" }, "not answered yet")]
        : beginning(text[row]) === "" ? [make("p", { class: "remark" }, "an empty answer")] : longText(samples, text[row], "pre", { class: "said" });
    const list = make("dl", { class: "table", "data-run": run });
    const add = (term, value) => list.append(make("div", {}, make("dt", {}, foreign(term)), make("dd", {}, value)));
    for (const [score, values] of Object.entries(scores)) if (values[row] !== null) add(score, figure(values[row]));
    (usage[row] ?? []).forEach((tokens, place) => tokens && add(USAGE[place], whole(tokens)));
    if (shown !== "real") add("pictures", shown === "none" ? "none were shown" : "another sample's were shown");
    return make("section", { class: `answer run-${samples.runs[run].letter.charCodeAt(0) % 8}` },
      make("h4", {}, letterOf(samples, run), " ", foreign(name), " ", badge(samples, run, row)), ...said, list);
  }

  drawScalars() {
    this.traces.forEach((trace, run) => {
      const list = this.node.querySelector(`dl[data-run="${run}"]`);
      for (const [name, value] of Object.entries(trace?.scalars ?? {})) {
        list.append(make("div", { class: "scalar" }, make("dt", {}, foreign(name)), make("dd", {}, figure(value))));
      }
    });
  }

  get mapNames() {
    return [...new Set(this.traces.flatMap((trace) => trace?.maps.map((map) => map.name) ?? []))];
  }

  drawControls() {
    const { samples, row, traces } = this;
    const missing = samples.runs.filter(({ letter, text }, run) => letter in samples.part("traces") && text[row] !== null && !traces[run]);
    if (missing.length) {
      this.controls.after(make("p", { class: "remark" }, `The trace of ${missing.map(({ letter }) => letter).join(" and ")} on this sample is not in this page.`));
    }
    const names = this.mapNames;
    if (!names.length) return;
    if (this.map !== "" && !names.includes(this.map)) this.map = names[0];
    const select = make("select", { id: "map" }, make("option", { value: "" }, "none"), ...names.map((name) => make("option", { value: name }, name)));
    select.value = this.map;
    select.addEventListener("change", () => { this.map = select.value; this.drawGallery(); });
    const slider = make("input", { type: "range", min: 0, max: 100, step: 5, value: 100 * this.opacity });
    slider.addEventListener("input", () => {
      this.opacity = slider.value / 100;
      for (const canvas of this.gallery.querySelectorAll("img + canvas.map")) canvas.style.opacity = this.opacity;
    });
    this.controls.replaceChildren(make("label", {}, make("span", {}, "Map"), select), make("label", {}, make("span", {}, "Opacity"), slider));
  }

  nextMap() {
    const names = ["", ...this.mapNames];
    if (names.length < 2) return;
    this.map = names[(names.indexOf(this.map) + 1) % names.length];
    this.controls.querySelector("select").value = this.map;
    this.drawGallery();
  }

  drawGallery() {
    const { samples, row } = this;
    const pictures = samples.pictures(row);
    const figures = pictures.map((address, place) => make("figure", {},
      make("div", { class: "stage" }, make("img", { src: address, alt: `Picture ${pictures.length > 1 ? place + 1 : ""} of sample ${samples.ids[row]}` })),
      make("figcaption", {}, pictures.length > 1 ? `picture ${place + 1}` : "picture")));
    this.traces.forEach((trace, run) => {
      const map = trace?.maps.find(({ name }) => name === this.map);
      // The map of a model that was shown another picture says nothing of this one.
      const picture = samples.runs[run].shown === "real" ? pictures[0] ?? null : null;
      if (map) figures.push(overlayFigure(letterOf(samples, run), map, picture, this.opacity));
    });
    this.gallery.replaceChildren(...figures);
  }
}
