// SPDX-License-Identifier: Apache-2.0
// Opens a heatmap's page without a browser and says what is on it:
//
//   qjs --module read_heatmap_page.js PAGE [ACTION...]
//
// An ACTION is "key NAME", "click NUMBER" on a small map, "point X Y" at a share
// of the large map's width and height, or "root". Prints one JSON object.
import * as std from 'std';

const WIDTH = 800;          // of the page, in pixels
const CHARACTER_WIDTH = 7;  // of every character

// As much of the DOM as the page uses.
class Node {
  constructor(tag) {
    Object.assign(this, {tag, children: [], attributes: {}, style: {},
                         text: '', listeners: {}, hidden: false});
    this.classList = {toggle() {}};
    this.clientWidth = WIDTH;
    this.namespaceURI = 'svg';
  }
  get textContent() {
    return this.text + this.children.map(child => child.textContent).join('');
  }
  set textContent(text) {
    Object.assign(this, {text, children: []});
  }
  append(child) {
    child.parent = this;
    this.children.push(child);
  }
  remove() {
    this.parent.children = this.parent.children.filter(node => node !== this);
  }
  replaceChildren() {
    this.children = [];
  }
  setAttribute(name, value) {
    this.attributes[name] = `${value}`;
  }
  querySelectorAll(selector) {
    return this.children.filter(
        node => `.${node.attributes['class']}` === selector);
  }
  addEventListener(type, listener) {
    this.listeners[type] = listener;
  }
  getBoundingClientRect() {
    return {left: 0, top: 0, width: 1, height: 1};
  }
  scrollIntoView() {}
  getContext() {
    return {
      measureText: text => ({width: CHARACTER_WIDTH * Array.from(text).length}),
      createImageData: (width, height) =>
          ({data: new Uint8ClampedArray(4 * width * height)}),
      putImageData: image => {
        this.pixels = image.data;
      },
    };
  }
}

function decodeBase64(text) {
  const digits =
      'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  let bytes = '';
  let bits = 0;
  let value = 0;
  for (const character of text.replace(/=+$/, '')) {
    value = (value << 6 | digits.indexOf(character)) & 0xffffff;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes += String.fromCharCode(value >> bits & 0xff);
    }
  }
  return bytes;
}

// The elements with an id; scripts hold everything up to the first end tag.
function parse(page) {
  const elements = {};
  for (const [tag, name, id] of page.matchAll(/<(\w+) [^>]*?id="(\w+)"[^>]*>/g)) {
    elements[id] = new Node(name);
    elements[id].hidden = / hidden/.test(tag);
  }
  const scripts = [];
  for (let rest = page; /<script\b/i.test(rest);) {
    rest = rest.slice(rest.search(/<script\b/i));
    const start = rest.indexOf('>') + 1;
    const end = rest.search(/<\/script\b/i);
    scripts.push(rest.slice(start, end));
    rest = rest.slice(end + 1);
  }
  elements.data.text = scripts[0];
  return {elements, scripts};
}

function act(elements, action) {
  const [verb, ...words] = action.split(' ');
  if (verb === 'key') {
    elements.cells.listeners.keydown({key: words[0], preventDefault() {}});
  } else if (verb === 'point') {
    elements.cells.listeners.pointermove(
        {clientX: Number(words[0]), clientY: Number(words[1])});
  } else if (verb === 'root') {
    elements.root.listeners.change({target: {checked: true}});
  } else {
    buttons(elements)[Number(words[0])].listeners.click();
  }
}

function buttons(elements) {
  return elements.overview.children.flatMap(
      group => group.children.filter(node => node.tag === 'button'));
}

function ticks(elements, side) {
  return elements.axes.querySelectorAll('.tick')
      .filter(node => ('x' in node.attributes) === (side === 'row'))
      .map(node => node.textContent);
}

function colorsOf(canvas) {
  const colors = [];
  if (!canvas.pixels) return colors;  // not painted
  for (let i = 0; i < canvas.pixels.length; i += 4) {
    colors.push(Array.from(canvas.pixels.slice(i, i + 3)).join());
  }
  return colors;
}

const page = std.loadFile(scriptArgs[1]);
const {elements, scripts} = parse(page);
globalThis.atob = decodeBase64;
globalThis.window = {addEventListener() {}, devicePixelRatio: 1};
globalThis.document = {
  body: new Node('body'),
  getElementById: id => elements[id],
  createElement: tag => new Node(tag),
  createElementNS: (_, tag) => new Node(tag),
};
std.evalScript(scripts[scripts.length - 1]);
for (const action of scriptArgs.slice(2)) act(elements, action);

const text = id => elements[id].textContent;
const large = colorsOf(elements.cells);
std.out.puts(JSON.stringify({
  scripts: scripts.length,
  documentTitle: globalThis.document.title,
  title: text('title'),
  summary: text('summary'),
  middle: text('middle'),
  end: text('end'),
  showsNaN: !elements.nan.hidden,
  showsOverview: !elements.overview.hidden,
  panel: text('panel'),
  notes: text('notes'),
  readout: text('readout'),
  rowTicks: ticks(elements, 'row'),
  columnTicks: ticks(elements, 'column'),
  current: elements.axes.querySelectorAll('.current').map(n => n.textContent),
  headings: elements.overview.children.filter(node => node.tag === 'h2')
                .map(node => node.textContent),
  buttons: buttons(elements).map(node => node.textContent),
  pressed: buttons(elements).map(node => node.attributes['aria-pressed']),
  width: elements.cells.width,
  height: elements.cells.height,
  firstColor: large[0],
  lastColor: large[large.length - 1],
}));
