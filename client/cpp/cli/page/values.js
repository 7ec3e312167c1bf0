// SPDX-License-Identifier: Apache-2.0
'use strict';
// The numbers and texts of a heatmap's page: no document is needed.
/* exported decodeValues, cellStart, toPixels, makePalette, colorOf, tickStep,
visible, describe, formatWeight, labelsOf, summarize, notesOn */

const NAN_COLOR = [214, 69, 65];  // --nan in heatmap.css

// The value of the bits of a float16 (IEEE 754 binary16).
function halfToNumber(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function decodeValues(base64) {
  const bytes = atob(base64);
  const values = new Float32Array(bytes.length / 2);
  for (let i = 0; i < values.length; ++i) {
    values[i] = halfToNumber(
        bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8));
  }
  return values;
}

// Where cell `cell` of `cells` begins among `total`.
function cellStart(cell, cells, total) {
  return Math.floor(cell * total / cells);
}

// A matrix as height x width pixels: several for a value, or the largest value
// of the block that a pixel covers. NaN counts only where there is nothing else.
function toPixels(matrix, height, width) {
  const pixels = new Float32Array(height * width).fill(NaN);
  for (let y = 0; y < height; ++y) {
    const firstRow = cellStart(y, height, matrix.rows);
    const endRow = Math.max(cellStart(y + 1, height, matrix.rows), firstRow + 1);
    for (let x = 0; x < width; ++x) {
      const first = cellStart(x, width, matrix.columns);
      const end = Math.max(cellStart(x + 1, width, matrix.columns), first + 1);
      let most = NaN;
      for (let row = firstRow; row < endRow; ++row) {
        for (let i = row * matrix.columns + first;
             i < row * matrix.columns + end; ++i) {
          if (!(matrix.values[i] <= most)) {
            most = isNaN(matrix.values[i]) ? most : matrix.values[i];
          }
        }
      }
      pixels[y * width + x] = most;
    }
  }
  return pixels;
}

// 256 colors from 0 to the end of the scale, by interpolation.
function makePalette(colors) {
  const palette = [];
  for (let i = 0; i < 256; ++i) {
    const place = i / 255 * (colors.length - 1);
    const lower = Math.min(Math.floor(place), colors.length - 2);
    palette.push(colors[lower].map(
        (from, k) => Math.round(
            from + (place - lower) * (colors[lower + 1][k] - from))));
  }
  return palette;
}

// The color of a value: its share of `end`, raised to a power below 1 to bring
// out small ones.
function colorOf(value, {end, power, palette}) {
  if (isNaN(value)) return NAN_COLOR;
  const share = end > 0 ? Math.min(Math.max(value / end, 0), 1) : 0;
  return palette[Math.round(share ** power * 255)];
}

// The distance of labels: 1, 2 or 5 times a power of 10 elements, so that each
// has `least` pixels.
function tickStep(elementPixels, least) {
  for (let power = 1;; power *= 10) {
    for (const step of [1, 2, 5]) {
      if (step * power * elementPixels >= least) return step * power;
    }
  }
}

// Control characters, and those that change the direction of what follows, as
// escapes: a label shows everything that is in it.
function visible(text) {
  return text.replace(
      /[\p{Cc}\p{Zl}\p{Zp}\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/gu,
      character => {
        const short = {'\n': '\\n', '\r': '\\r', '\t': '\\t'}[character];
        return short ||
            '\\u' + character.charCodeAt(0).toString(16).padStart(4, '0');
      });
}

// "3 “cat”", or "16–31" where an element is a block; the label is isolated, so
// that its direction does not matter to the text around it.
function describe(first, end, labels) {
  if (end - first > 1) return `${first}\u2013${end - 1}`;
  if (!labels) return `${first}`;
  return `${first} \u201c\u2068${visible(labels[first])}\u2069\u201d`;
}

// Three significant digits, which are what the page has of a weight.
function formatWeight(value) {
  if (isNaN(value)) return 'NaN';
  return Math.abs(value) < 1e-4 && value !== 0 ?
      value.toExponential(2) :
      `${Number(value.toPrecision(3))}`;
}

// "3, 7–9, 12", of at most eight parts.
function formatRanges(numbers) {
  const parts = [];
  for (let i = 0; i < numbers.length;) {
    let end = i + 1;
    while (end < numbers.length && numbers[end] === numbers[end - 1] + 1) ++end;
    parts.push(describe(numbers[i], numbers[end - 1] + 1));
    i = end;
  }
  return parts.slice(0, 8).join(', ') + (parts.length > 8 ? ', \u2026' : '');
}

function labelsOf(lists, sequence) {
  return lists.length > 1 ? lists[sequence] : lists[0];
}

function summarize(data) {
  const shown = data.panels.length;
  const count = shown < data.available ?
      `the first ${shown} of ${data.available} matrices` :
      `${shown} ${shown === 1 ? 'matrix' : 'matrices'}`;
  return `${count} of ${data.rows} queries (rows) \u00d7 ` +
      `${data.columns} keys (columns), on one scale.`;
}

function notesOn(panel, data) {
  const notes = [];
  if (panel.nanRows.length > 0) {
    notes.push('Queries that see no key (NaN): ' +
               `${formatRanges(panel.nanRows)}.`);
  }
  if (panel.rows < data.rows || panel.columns < data.columns) {
    notes.push(`Stored as ${panel.rows} \u00d7 ${panel.columns} cells, ` +
               'each the largest of up to ' +
               `${Math.ceil(data.rows / panel.rows)} \u00d7 ` +
               `${Math.ceil(data.columns / panel.columns)} weights.`);
  }
  return notes.join(' ');
}
