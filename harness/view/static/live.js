"use strict";

// Forms filter as soon as something is chosen; unfinished runs show how far they are.

{
  const SOON = 2000;
  const LATE = 30000;
  const whole = (value) => value.toLocaleString("en");
  const time = (seconds) =>
    seconds < 90 ? `${Math.ceil(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;

  for (const form of document.querySelectorAll("form.filters")) {
    form.addEventListener("change", ({ target }) => target.matches("select") && form.requestSubmit());
    // An address without what was left empty is easier to read.
    form.addEventListener("formdata", ({ formData }) => {
      for (const [name, value] of [...formData]) if (value === "") formData.delete(name);
    });
  }

  const bars = new Map(Array.from(document.querySelectorAll("[data-progress]"), (node) => [node.dataset.progress, node]));
  const begun = new Map();
  let wait = SOON;

  function show(id, { asked, n }) {
    const now = performance.now() / 1000;
    if (!begun.has(id)) begun.set(id, { asked, now });
    const first = begun.get(id);
    const rate = (asked - first.asked) / (now - first.now);
    const node = bars.get(id);
    const bar = node.querySelector("progress");
    if (bar.value !== asked) wait = SOON;
    bar.value = asked;
    node.querySelector("small").textContent = `${whole(asked)} of ${whole(n)}`
      + (rate > 0 ? `, ${rate < 10 ? rate.toFixed(1) : whole(Math.round(rate))}/s, ${time((n - asked) / rate)} left` : "");
  }

  // Asks again, ever later while nothing changes: a run may have been given up.
  async function look() {
    if (!document.hidden) {
      try {
        const found = Object.entries(await (await fetch(`/api/progress?${new URLSearchParams([...bars.keys()].map((id) => ["run", id]))}`)).json());
        for (const [id, run] of found) show(id, run);
        if (found.some(([, { status }]) => status === "complete")) {
          location.reload();
          return;
        }
      } catch { /* the server has ended, or is busy */ }
    }
    setTimeout(look, wait);
    wait = Math.min(1.5 * wait, LATE);
  }

  if (bars.size) look();
}
