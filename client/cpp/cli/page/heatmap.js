// SPDX-License-Identifier: Apache-2.0
'use strict';
// Draws the weights that attention-client put into the page (heatmap_html.cc).
/* global decodeValues, cellStart, toPixels, makePalette, colorOf, tickStep,
visible, describe, formatWeight, labelsOf, summarize, notesOn */

const FONT = '12px system-ui, sans-serif';
const LABEL_PIXELS = 120;  // longest label
const TICK_PIXELS = 15;    // least distance of labels
const CELL_PIXELS = 40;    // largest cell
const SMALL_PIXELS = 240;  // side of a map in the overview, in device pixels
const MIN_SIDE = 120;      // of the large map, in CSS pixels
const MAX_HEIGHT = 1050;
const GAP = 34;  // beside labels: for the axis's title and ticks

// The page. `page` holds the data and what is selected: a panel and, unless
// null, one of its cells.

function element(id) {
  return document.getElementById(id);
}

function append(parent, node, text) {
  if (text) node.textContent = text;
  parent.append(node);
  return node;
}

// Fill a canvas with `height` x `width` device pixels of a panel.
function paint(page, canvas, panel, {height, width}) {
  canvas.height = height;
  canvas.width = width;
  const context = canvas.getContext('2d');
  const image = context.createImageData(width, height);
  toPixels(panel, height, width).forEach((value, i) => {
    image.data.set(colorOf(value, page.scale), 4 * i);
    image.data[4 * i + 3] = 255;
  });
  context.putImageData(image, 0, 0);
}

function measure(page, text) {
  page.ruler.font = FONT;
  return page.ruler.measureText(text).width;
}

// The text beside an element: its label, or its number; both where not every
// element has a tick. No longer than LABEL_PIXELS.
function tickText(page, i, labels, thinned) {
  if (!labels) return `${i}`;
  const number = thinned ? `${i} ` : '';
  const fits = text => measure(page, number + text) <= LABEL_PIXELS;
  let text = visible(labels[i]);
  if (!fits(text)) {
    const characters = Array.from(text);
    while (characters.length > 0 && !fits(characters.join('') + '\u2026')) {
      characters.pop();
    }
    text = characters.join('') + '\u2026';
  }
  // Isolated, so that a number stays before a label read from right to left.
  return number ? `${number}\u2068${text}\u2069` : text;
}

// The ticks of an axis of `count` elements of so many pixels, and how wide
// their longest text is.
function makeTicks(page, count, pixels, labels) {
  const step = tickStep(pixels, TICK_PIXELS);
  const ticks = [];
  for (let i = 0; i < count; i += step) {
    ticks.push({i, text: tickText(page, i, labels, step > 1)});
  }
  return {ticks, width: Math.max(0, ...ticks.map(t => measure(page, t.text)))};
}

// The side of `cells` cells of `ideal` device pixels: whole ones if possible,
// so that all are equal.
function sideOf(cells, ideal) {
  return ideal >= 1 ? cells * Math.floor(ideal) :
                      Math.max(Math.round(cells * ideal), 1);
}

// Where everything goes, in CSS pixels, and the canvas in device pixels.
function layOut(page) {
  const {data, panel} = page;
  const ratio = window.devicePixelRatio || 1;
  const queries = labelsOf(data.queries, panel.sequence);
  const keys = labelsOf(data.keys, panel.sequence);
  const room = element('plot').clientWidth - 2;
  // Cells are square, but where a side would be too short to see.
  const sizes = left => {
    const width = Math.max(room - left, MIN_SIDE);
    const cell = Math.min(CELL_PIXELS, width / panel.columns,
                          MAX_HEIGHT / panel.rows);
    const side = cells => sideOf(
        cells, ratio * Math.min(Math.max(cell, MIN_SIDE / cells), CELL_PIXELS));
    return {height: side(panel.rows), width: side(panel.columns)};
  };
  const ticksOf = (pixels, count, labels) =>
      makeTicks(page, count, pixels / ratio / count, labels);
  const guess = sizes(LABEL_PIXELS + GAP);
  const left =
      ticksOf(guess.height, data.rows, queries).width + GAP;
  const canvas = sizes(left);
  return {
    canvas, left, queries, keys,
    height: canvas.height / ratio,
    width: canvas.width / ratio,
    rowTicks: ticksOf(canvas.height, data.rows, queries).ticks,
    columnTicks: ticksOf(canvas.width, data.columns, keys),
  };
}

function svg(tag, attributes, text) {
  const node =
      document.createElementNS(element('axes').namespaceURI, tag);
  for (const [name, value] of Object.entries(attributes)) {
    node.setAttribute(name, value);
  }
  return append(element('axes'), node, text);
}

function rowText(place, i, text, className) {
  const y = (i + 0.5) * place.height / place.rows;
  return svg('text', {'class': className, 'x': place.left - 8, 'y': y,
                      'dy': '0.34em', 'text-anchor': 'end'}, text);
}

// Read upwards, to end under its column.
function columnText(place, i, text, className) {
  const x = place.left + (i + 0.5) * place.width / place.columns;
  const transform = `translate(${x} ${place.height + 8}) rotate(-90)`;
  return svg('text', {'class': className, 'text-anchor': 'end',
                      'dy': '0.34em', transform}, text);
}

function drawAxes(page) {
  const {place} = page;
  const axes = element('axes');
  axes.replaceChildren();
  const bottom = place.height + place.columnTicks.width + GAP;
  axes.setAttribute('width', place.left + place.width + 2);
  axes.setAttribute('height', bottom);
  svg('text', {'class': 'title', 'text-anchor': 'middle',
               'transform': `translate(12 ${place.height / 2}) rotate(-90)`},
      'query');
  svg('text', {'class': 'title', 'text-anchor': 'middle', 'y': bottom - 6,
               'x': place.left + place.width / 2}, 'key');
  for (const {i, text} of place.rowTicks) {
    const y = (i + 0.5) * place.height / place.rows;
    svg('line', {x1: place.left - 5, x2: place.left - 1, y1: y, y2: y});
    rowText(place, i, text, 'tick').row = i;
  }
  for (const {i, text} of place.columnTicks.ticks) {
    const x = place.left + (i + 0.5) * place.width / place.columns;
    svg('line', {x1: x, x2: x, y1: place.height + 1, y2: place.height + 5});
    columnText(place, i, text, 'tick').column = i;
  }
}

function drawPanel(page) {
  page.place = Object.assign(
      layOut(page), {rows: page.data.rows, columns: page.data.columns});
  const canvas = element('cells');
  canvas.style.left = `${page.place.left}px`;
  canvas.style.top = '0';
  canvas.style.width = `${page.place.width}px`;
  canvas.style.height = `${page.place.height}px`;
  paint(page, canvas, page.panel, page.place.canvas);
  drawAxes(page);
  drawCell(page);
}

// Hide the ticks that the labels of a row and a column cover.
function makeRoom(place, row, column) {
  const near = (i, current, pixels) =>
      i !== undefined && Math.abs(i - current) * pixels < TICK_PIXELS;
  for (const tick of element('axes').querySelectorAll('.tick')) {
    tick.style.visibility =
        near(tick.row, row, place.height / place.rows) ||
        near(tick.column, column, place.width / place.columns) ?
            'hidden' : 'visible';
  }
}

// Mark the selected cell and say what is in it.
function drawCell(page) {
  const {cell, data, panel, place} = page;
  for (const old of element('axes').querySelectorAll('.current')) old.remove();
  element('cursor').hidden = !cell;
  makeRoom(place, NaN, NaN);
  if (!cell) {
    element('readout').textContent = '';
    return;
  }
  const rows = [cell.row, cell.row + 1].map(
      row => cellStart(row, panel.rows, data.rows));
  const columns = [cell.column, cell.column + 1].map(
      column => cellStart(column, panel.columns, data.columns));
  makeRoom(place, rows[0], columns[0]);
  rowText(place, rows[0], tickText(page, rows[0], place.queries, true),
          'current');
  columnText(place, columns[0], tickText(page, columns[0], place.keys, true),
             'current');
  Object.assign(element('cursor').style, {
    left: `${place.left + columns[0] * place.width / data.columns}px`,
    top: `${rows[0] * place.height / data.rows}px`,
    width: `${(columns[1] - columns[0]) * place.width / data.columns}px`,
    height: `${(rows[1] - rows[0]) * place.height / data.rows}px`,
  });
  element('readout').textContent =
      `query ${describe(...rows, place.queries)}, ` +
      `key ${describe(...columns, place.keys)}: ` +
      formatWeight(panel.values[cell.row * panel.columns + cell.column]);
}

function pointAt(page, row, column) {
  const {panel} = page;
  const within = (value, count) => Math.min(Math.max(value, 0), count - 1);
  page.cell = {row: within(row, panel.rows),
               column: within(column, panel.columns)};
  drawCell(page);
}

function select(page, index) {
  if (index < 0 || index >= page.panels.length) return;
  page.panel = page.panels[index];
  element('panel').textContent = page.panel.title;
  element('notes').textContent = notesOn(page.panel, page.data);
  page.panels.forEach(
      ({button}, i) => button.setAttribute('aria-pressed', i === index));
  drawPanel(page);
}

function onKey(page, event) {
  const {row, column} = page.cell || {row: 0, column: 0};
  const index = page.panels.indexOf(page.panel);
  const actions = {
    ArrowUp: () => pointAt(page, row - 1, column),
    ArrowDown: () => pointAt(page, row + 1, column),
    ArrowLeft: () => pointAt(page, row, column - 1),
    ArrowRight: () => pointAt(page, row, column + 1),
    Home: () => pointAt(page, row, 0),
    End: () => pointAt(page, row, Infinity),
    PageUp: () => select(page, index - 1),
    PageDown: () => select(page, index + 1),
    Escape: () => {
      page.cell = null;
      drawCell(page);
    },
  };
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
}

function onPointer(page, event) {
  const box = element('cells').getBoundingClientRect();
  pointAt(page,
         Math.floor((event.clientY - box.top) / box.height * page.panel.rows),
         Math.floor((event.clientX - box.left) / box.width *
                    page.panel.columns));
}

// A button with a small map for each panel, under a heading for each sequence.
function drawOverview(page) {
  const {data, panels} = page;
  let group = null;
  panels.forEach((panel, index) => {
    if (index === 0 || panel.sequence !== panels[index - 1].sequence) {
      if (data.batched) {
        append(element('overview'), document.createElement('h2'),
               `sequence ${panel.sequence}`);
      }
      group = append(element('overview'), document.createElement('div'));
      group.className = 'sequence';
    }
    panel.button = append(group, document.createElement('button'));
    panel.canvas = append(panel.button, document.createElement('canvas'));
    append(panel.button, document.createElement('span'), panel.head);
    panel.button.addEventListener('click', () => {
      select(page, index);
      element('detail').scrollIntoView({block: 'nearest'});
    });
  });
}

// Everything that has colors.
function color(page, power) {
  const {data, panels, scale} = page;
  scale.power = power;
  element('middle').textContent = formatWeight(0.5 ** (1 / power) * scale.end);
  const shape = Math.min(Math.max(data.rows / data.columns, 0.25), 2);
  const size = {height: Math.round(SMALL_PIXELS * shape), width: SMALL_PIXELS};
  panels.forEach(panel => paint(page, panel.canvas, panel, size));
  drawPanel(page);
}

function listen(page) {
  const canvas = element('cells');
  canvas.addEventListener('pointermove', event => onPointer(page, event));
  canvas.addEventListener('pointerdown', event => onPointer(page, event));
  canvas.addEventListener('keydown', event => onKey(page, event));
  element('root').addEventListener(
      'change', event => color(page, event.target.checked ? 0.5 : 1));
  window.addEventListener('resize', () => drawPanel(page));
}

function start() {
  const data = JSON.parse(element('data').textContent);
  document.title = data.title;
  element('title').textContent = data.title;
  element('summary').textContent = summarize(data);
  const panels = data.panels.map(
      panel =>
          Object.assign(panel, {values: decodeValues(panel.values)}));
  if (panels.length === 0 || panels[0].values.length === 0) return;
  const palette = makePalette(data.colors);
  const page = {data, panels, panel: panels[0], cell: null,
                scale: {end: data.max, power: 1, palette},
                ruler: document.createElement('canvas').getContext('2d')};
  const stops = palette.filter((_, i) => i % 15 === 0)
                    .map(rgb => `rgb(${rgb.join(',')})`);
  element('bar').style.background = `linear-gradient(90deg, ${stops.join()})`;
  element('end').textContent = formatWeight(data.max);
  element('nan').hidden = !panels.some(({values}) => values.some(isNaN));
  element('legend').hidden = false;
  element('detail').hidden = false;
  element('overview').hidden = panels.length === 1;
  document.body.classList.toggle('several', panels.length > 1);
  drawOverview(page);
  listen(page);
  select(page, 0);
  color(page, 1);
}

if (typeof document !== 'undefined') start();
