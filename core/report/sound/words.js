// The data of the page, the language it speaks, and elements made of text: nothing is ever parsed as HTML.

const page = JSON.parse(document.getElementById("data").textContent);
const LANGUAGES = { en: "English", ko: "한국어" };

function remembered(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // some browsers keep nothing for files
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // The page works without.
  }
}

let language = remembered("fishtune-language") ?? (navigator.language || "en").slice(0, 2);
if (!(language in LANGUAGES)) language = "en";

function pick(said) {
  return said?.[language] ?? said?.en ?? "";
}

// A text of the page, with {name} filled in.
function say(key, values = {}) {
  return pick(page.texts[key]).replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);
}

function number(value, digits = 0) {
  return new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

function percent(value) {
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0 }).format(value);
}

const SVG = "http://www.w3.org/2000/svg";

// An element with attributes (null ones left out), handlers ("onclick") and children, texts or elements.
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// A select; `options` are [value, text].
function choice(label, options, value, onchange) {
  const select = make("select", { onchange: () => onchange(select.value) });
  for (const [each, text] of options) select.append(make("option", { value: each }, text));
  select.value = value;
  return make("label", { class: "choice" }, make("span", {}, label), select);
}

function announce(text) {
  document.getElementById("status").textContent = text;
}
