"use strict";

// The list of samples with its filters. Only one page of it is ever in the document.

const PAGE = 25;

const ORDERS = [
  ["as in the data", () => true, null],
  ["lowest score first", (samples) => samples.halving !== null, (samples, run, row) => samples.value(run, row) ?? Infinity],
  ["highest score first", (samples) => samples.halving !== null, (samples, run, row) => -(samples.value(run, row) ?? -Infinity)],
  ["largest difference first", (samples) => samples.halving !== null && samples.runs.length > 1, (samples, run, row) => {
    const [one, other] = [samples.value(run, row), samples.value(run ? 0 : 1, row)];
    return one === null || other === null ? Infinity : -Math.abs(one - other);
  }],
  ["most visual tokens first", (samples) => samples.runs.some(({ usage }) => usage.some((row) => row?.[1])), (samples, run, row) => -(samples.runs[run].usage[row]?.[1] ?? -1)],
  ["longest answer first", () => true, (samples, run, row) => {
    const text = samples.runs[run].text[row];
    return text === null ? Infinity : -(Array.isArray(text) ? text[1] : text.length);
  }],
];

// What a chip lets through. `other` is the run that `run` is compared with.
const OUTCOMES = {
  all: () => true,
  right: (samples, row, run) => samples.outcome(run, row) === "right",
  wrong: (samples, row, run) => samples.outcome(run, row) === "wrong",
  failed: (samples, row, run) => samples.outcome(run, row) === "failed",
  missing: (samples, row, run) => samples.outcome(run, row) === "missing",
  flipped: (samples, row, run, other) => OUTCOMES.won(samples, row, run, other) || OUTCOMES.won(samples, row, other, run),
  won: (samples, row, run, other) => samples.outcome(run, row) === "right" && samples.outcome(other, row) === "wrong",
  lost: (samples, row, run, other) => OUTCOMES.won(samples, row, other, run),
};

class Browser {
  constructor() {
    this.boards = [];
    this.detail = new Detail($("detail"), { move: (step) => this.move(step), close: () => this.close() });
    this.listen();
    $("browser").hidden = false;
    this.open(0);
    this.followAddress();
  }

  // --- which samples ---

  open(number) {
    this.samples = this.boards[number] ??= new Samples(number);
    this.outcome = "all";
    this.detail.close();
    const { runs, facets } = this.samples;
    for (const remark of document.querySelectorAll(".remarks")) remark.hidden = Number(remark.dataset.board) !== number;
    this.fill("run", runs.map(({ letter, name }, place) => [place, `${letter}: ${name}`]), runs.length - 1);
    this.fill("facet", [["", "any"], ...Object.keys(facets).map((name) => [name, name])], "");
    const orders = ORDERS.map(([name], place) => [place, name]).filter(([place]) => ORDERS[place][1](this.samples));
    this.fill("order", orders, 0);
    $("of-run").hidden = runs.length < 2;
    $("of-facet").hidden = !Object.keys(facets).length;
    this.offerKeys();
    this.update();
  }

  fill(id, options, chosen) {
    $(id).replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
    $(id).value = chosen;
  }

  offerKeys() {
    const facet = this.samples.facets[$("facet").value];
    $("of-key").hidden = !facet;
    if (!facet) return;
    const sizes = new Array(facet.keys.length).fill(0);
    for (const code of facet.codes) if (code >= 0) sizes[code] += 1;
    this.fill("key", facet.keys.map((key, code) => [code, `${key || "(empty)"} (${whole(sizes[code])})`]), 0);
  }

  get run() {
    return Number($("run").value);
  }

  get other() {
    return this.run === 0 ? 1 : 0;
  }

  // The rows that search and kind let through, whatever their outcome.
  candidates() {
    const { samples } = this;
    const words = $("query").value.toLowerCase().split(/\s+/).filter(Boolean);
    const facet = samples.facets[$("facet").value];
    const code = Number($("key").value);
    const found = [];
    for (let row = 0; row < samples.n; row += 1) {
      if (facet && facet.codes[row] !== code) continue;
      if (words.every((word) => samples.text(row).includes(word))) found.push(row);
    }
    return found;
  }

  // Filter, sort and show anew, from the beginning, or where the sample that is open has come to lie.
  update() {
    const { samples, run, other } = this;
    const candidates = this.candidates();
    this.drawChips(candidates);
    this.rows = candidates.filter((row) => OUTCOMES[this.outcome](samples, row, run, other));
    const key = ORDERS[Number($("order").value)][2];
    if (key) {
      const keys = new Map(this.rows.map((row) => [row, key(samples, run, row)]));
      this.rows.sort((one, two) => keys.get(one) - keys.get(two) || one - two);
    }
    const kept = this.detail.isOpen ? this.rows.indexOf(this.current) : -1;
    if (this.detail.isOpen && kept < 0) this.close(false);
    this.place = Math.max(0, kept);
    this.current = this.rows[this.place] ?? null;
    this.drawPage();
  }

  // --- drawing ---

  drawChips(candidates) {
    const { samples, run, other } = this;
    const { words } = samples;
    const letters = samples.runs.map(({ letter }) => letter);
    const names = { all: "All", right: capital(words.right), wrong: capital(words.wrong), failed: "Failed", missing: "Not answered yet" };
    if (samples.halving === null) for (const name of ["right", "wrong"]) delete names[name];
    if (!samples.runs.some(({ text, failures }) => text.some((said, row) => said === null && !(row in failures)))) delete names.missing;
    if (samples.halving !== null && letters.length > 1) {
      Object.assign(names, { flipped: "Flipped", won: `Only ${letters[run]} ${words.right}`, lost: `Only ${letters[other]} ${words.right}` });
    }
    if (!(this.outcome in names)) this.outcome = "all";
    const focused = document.activeElement?.name === "outcome";
    const chips = Object.entries(names).map(([outcome, name]) => {
      const size = candidates.reduce((sum, row) => sum + OUTCOMES[outcome](samples, row, run, other), 0);
      const input = make("input", { type: "radio", name: "outcome", value: outcome, checked: outcome === this.outcome });
      return make("label", { class: `chip ${outcome}` }, input, make("span", {}, name, " ", make("b", {}, whole(size))));
    });
    $("outcomes").replaceChildren($("outcomes").querySelector("legend"), ...chips);
    if (focused) $("outcomes").querySelector(":checked").focus();
  }

  drawPage() {
    const pages = Math.max(1, Math.ceil(this.rows.length / PAGE));
    const page = Math.floor(this.place / PAGE);
    const first = page * PAGE;
    const shown = this.rows.slice(first, first + PAGE);
    const all = `${whole(this.samples.n)} ${this.samples.n === 1 ? "sample" : "samples"}`;
    $("found").textContent = this.rows.length === this.samples.n ? all : `${whole(this.rows.length)} of ${all}`;
    $("page").textContent = `${whole(page + 1)} / ${whole(pages)}`;
    $("previous-page").disabled = page === 0;
    $("next-page").disabled = page >= pages - 1;
    $("list").replaceChildren(...shown.map((row) => this.item(row)));
    $("list").start = first + 1;
    $("nothing").hidden = this.rows.length > 0;
    this.mark();
  }

  item(row) {
    const { samples } = this;
    const [picture] = samples.pictures(row);
    const references = samples.references[row].slice(0, 3).map(([text]) => brief(text));
    const answers = samples.runs.map((run, place) => {
      const outcome = samples.outcome(place, row);
      const failure = run.failures[row];
      const said = failure ? failure[0] : run.text[row] === null ? "" : brief(run.text[row]);
      return make("span", { class: `said ${outcome}` },
        make("span", { class: "mark", "aria-hidden": "true" }, MARKS[outcome]),
        make("span", { class: "unseen" }, ` ${run.letter} ${samples.words[outcome] ?? outcome}: `),
        ...(samples.runs.length > 1 ? [letterOf(samples, place)] : []),
        said ? foreign(said) : make("i", {}, "empty"));
    });
    const thumb = picture ? make("img", { class: "thumb", src: picture, alt: "" }) : make("span", { class: "thumb" });
    const button = make("button", { type: "button", "data-row": row },
      ...(samples.hasPictures ? [thumb] : []),
      make("span", { class: "lines" },
        foreign(brief(samples.questions[row]) || samples.ids[row], "span", { class: "question" }),
        make("span", { class: "said-row" }, ...answers),
        make("span", { class: "wanted" }, "expected ", ...references.flatMap((text, place) => [place ? " · " : "", foreign(text)]))));
    return make("li", {}, button);
  }

  mark() {
    for (const button of $("list").querySelectorAll("button")) {
      const isCurrent = Number(button.dataset.row) === this.current;
      button.toggleAttribute("aria-current", isCurrent);
      if (isCurrent) button.setAttribute("aria-current", "true");
    }
    $("panes").classList.toggle("open", this.detail.isOpen);
  }

  get button() {
    return $("list").querySelector('[aria-current="true"]');
  }

  // --- moving ---

  move(step) {
    if (!this.rows.length) return;
    const inDetail = $("detail").contains(document.activeElement);
    const fresh = !this.detail.isOpen && !$("list").contains(document.activeElement);
    this.goTo(fresh ? this.place : this.place + step);
    if (!inDetail) this.button.focus();
    else $("detail").focus();
  }

  goTo(place) {
    const before = Math.floor(this.place / PAGE);
    this.place = Math.min(this.rows.length - 1, Math.max(0, place));
    this.current = this.rows[this.place];
    if (Math.floor(this.place / PAGE) !== before) this.drawPage();
    if (this.detail.isOpen) this.show();
    this.mark();
    this.button.scrollIntoView({ block: "nearest" });
  }

  turn(step) {
    this.goTo((Math.floor(this.place / PAGE) + step) * PAGE);
  }

  show() {
    this.detail.show(this.samples, this.current);
    this.mark();
    const board = this.samples.number ? `${this.samples.number}/` : "";
    history.replaceState(null, "", `#sample=${board}${encodeURIComponent(this.samples.ids[this.current])}`);
    if (getComputedStyle($("detail")).position === "fixed") $("detail").focus();
  }

  close(back = true) {
    this.detail.close();
    this.mark();
    history.replaceState(null, "", "#samples");
    if (back) this.button?.focus();
  }

  reset() {
    this.outcome = "all";
    $("query").value = "";
    $("facet").value = "";
    this.offerKeys();
    this.update();
  }

  // `#sample=ID` opens that sample.
  followAddress() {
    const [, board, id] = location.hash.match(/^#sample=(?:(\d+)\/)?(.*)$/) ?? [];
    if (id === undefined || !$(`samples-${board ?? 0}`)) return;
    if (Number(board ?? 0) !== this.samples.number) this.choose(Number(board));
    let row = -1;
    try {
      row = this.samples.ids.indexOf(decodeURIComponent(id));
    } catch { /* not an address of ours */ }
    if (row < 0) return;
    this.reset();
    this.goTo(this.rows.indexOf(row));
    this.show();
    $("samples").scrollIntoView();
  }

  choose(number) {
    $("board").value = number;
    this.open(number);
  }

  // A breakdown's key was chosen: show its samples.
  filter(board, facet, key) {
    if (board !== this.samples.number) this.choose(board);
    this.reset();
    $("facet").value = facet;
    this.offerKeys();
    $("key").value = this.samples.facets[facet].keys.indexOf(key);
    this.update();
    $("samples").scrollIntoView();
    $("key").focus();
  }

  // --- listening ---

  listen() {
    let typed;
    $("query").addEventListener("input", () => {
      clearTimeout(typed);
      typed = setTimeout(() => this.update(), 120);
    });
    for (const id of ["run", "key", "order"]) $(id).addEventListener("change", () => this.update());
    $("facet").addEventListener("change", () => { this.offerKeys(); this.update(); });
    $("board")?.addEventListener("change", () => this.open(Number($("board").value)));
    $("outcomes").addEventListener("change", (event) => { this.outcome = event.target.value; this.update(); });
    $("filters").addEventListener("submit", (event) => event.preventDefault());
    $("reset").addEventListener("click", () => this.reset());
    $("previous-page").addEventListener("click", () => this.turn(-1));
    $("next-page").addEventListener("click", () => this.turn(1));
    $("list").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      this.goTo(this.rows.indexOf(Number(button.dataset.row)));
      this.show();
    });
    addEventListener("hashchange", () => this.followAddress());
    document.addEventListener("keydown", (event) => this.key(event));
    this.listenToBreakdowns();
  }

  listenToBreakdowns() {
    document.querySelectorAll(".board").forEach((section, number) => {
      const keys = section.querySelectorAll("button.key");
      if (!keys.length) return;
      const { facets } = (this.boards[number] ??= new Samples(number));
      for (const button of keys) {
        const { facet, key } = button.dataset;
        if (!facets[facet]?.keys.includes(key)) continue;
        button.disabled = false;
        button.title = "Show these samples";
        button.addEventListener("click", () => this.filter(number, facet, key));
      }
    });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { target } = event;
    if (event.key === "Escape") {
      if (target.id === "query") {
        target.value = "";
        target.blur();
        this.update();
      } else if (this.detail.isOpen) this.close();
      return;
    }
    if (target.matches("input:not([type=radio], [type=checkbox]), select, textarea")) return;
    const isHere = $("list").contains(target) || $("detail").contains(target);
    const isFree = isHere || target === document.body;
    const isArrow = event.key === "ArrowDown" || event.key === "ArrowUp";
    if (isArrow && $("list").contains(target)) this.move(event.key === "ArrowDown" ? 1 : -1);
    else if (!$("keys").checked) return;
    else if (event.key === "/") {
      $("query").focus();
      $("query").select();
    }
    else if (isFree && (event.key === "j" || event.key === "k")) this.move(event.key === "j" ? 1 : -1);
    else if (isFree && event.key === "m" && this.detail.isOpen) this.detail.nextMap();
    else return;
    event.preventDefault();
  }
}

const capital = (word) => word[0].toUpperCase() + word.slice(1);

const brief = (text) => beginning(text).slice(0, 200).replaceAll(/\s+/g, " ").trim();

new Browser();
performance.mark("interactive");
