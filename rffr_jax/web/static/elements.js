// Elements and sentences of the page. All text is set as text, never as HTML.

const SVG = "http://www.w3.org/2000/svg";
const COLOURS = 8;
const MILLISECONDS_TO_SAVE = 60_000;

export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export function button(text, pressed) {
  const made = element("button", { type: "button" }, text);
  made.addEventListener("click", pressed);
  return made;
}

export function save(blob, name) {
  const address = URL.createObjectURL(blob);
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), MILLISECONDS_TO_SAVE);
}

export function sentence(text) {
  return text ? text[0].toUpperCase() + text.slice(1) + "." : "";
}

export function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  const rest = (tenths % 600) / 10;
  return `${Math.floor(tenths / 600)}:${rest.toFixed(1).padStart(4, "0")}`;
}

export function colour(face) {
  return `face${(face.face - 1) % COLOURS}`;
}
