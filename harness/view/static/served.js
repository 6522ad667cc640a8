"use strict";

// Where a page is served, pictures lie on the server: by the run, the sample's id and the picture's number.
Object.defineProperties(Samples.prototype, {
  pictures: {
    value(row) {
      const { run, counts } = this.part("pictures");
      const address = (_, number) => `/runs/${run}/picture?${new URLSearchParams({ sample: this.ids[row], number })}`;
      return Array.from({ length: counts[row] }, address);
    },
  },
  hasPictures: {
    get() {
      return this.part("pictures").counts.some(Boolean);
    },
  },
});
