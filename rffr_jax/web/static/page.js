// Sends one file to /api/predict and shows the answer. All text is set as text, never as HTML.

const MEANING =
  "A score is an opinion about pixels. One above the threshold is no proof, and one that is not " +
  "above it does not make a picture genuine.";
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 720, HEIGHT = 250, LEFT = 40, RIGHT = 706, TOP = 26, BOTTOM = 206;
const COLOURS = 8, TICKS = 6;

const field = document.getElementById("file");
const drop = document.getElementById("drop");
const state = document.getElementById("state");
const shown = document.getElementById("answer");
let mostBytes = Infinity;
let download = "";
let sending = null;

// ---- elements

function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function sentence(text) {
  return text ? text[0].toUpperCase() + text.slice(1) + "." : "";
}

// ---- what is said

function said(record, threshold) {
  if (record.score === null) return sentence(record.reason ?? "no reason was given");
  const where = record.status === "fake" ? "above" : "not above";
  const calibrated = typeof record.probability === "number"
    ? ` (calibrated probability ${record.probability.toFixed(2)})` : "";
  return `Score ${record.score.toFixed(3)}, ${where} the threshold ${threshold.toFixed(3)}${calibrated}.`;
}

function verdict(record, threshold) {
  return [element("span", { class: record.status }, sentence(record.status)), " ", said(record, threshold)];
}

function picture(address, alt, caption = "") {
  const image = element("img", { src: address, alt });
  return element("figure", {}, image, ...(caption ? [element("figcaption", {}, caption)] : []));
}

function show(answer) {
  const [file] = answer.files;
  const threshold = file.threshold?.value;
  const parts = [
    element("h2", { id: "verdict" }, ...verdict(file, threshold)),
    element("p", {}, file.path),
    element("p", {}, MEANING),
    ...(file.threshold?.doubts ?? []).map((doubt) => element("p", {}, sentence(doubt))),
  ];
  if (file.source?.kind === "video") parts.push(...timeline(file.faces, threshold));
  for (const face of file.faces) parts.push(...ofFace(face, threshold));
  if (file.faces_left_out)
    parts.push(element("p", {}, `Faces that were left out, the smallest: ${file.faces_left_out}.`));
  parts.push(element("p", {}, saved(answer)));
  shown.replaceChildren(...parts);
}

function ofFace(face, threshold) {
  const parts = [
    element("h3", {}, `Face ${face.face}: `, ...verdict(face, threshold)),
  ];
  if (face.frames.length > 1)
    parts.push(element("p", {},
      `Highest in frame ${face.peak.frame} at ${face.peak.time.toFixed(2)} s.`));
  if (face.evidence) {
    const alt = `original, reconstruction, residual and heat of face ${face.face}`;
    const figure = picture(face.evidence, alt);
    // One that is broader than a phone is moved sideways, with the keyboard too.
    const wide = element("div", { class: "wide evidence", tabindex: 0, role: "group", "aria-label": alt });
    wide.append(figure);
    parts.push(wide);
  } else if (face.picture) {
    parts.push(picture(face.picture, `face ${face.face}`));
  }
  return parts;
}

function saved(answer) {
  URL.revokeObjectURL(download);
  const text = JSON.stringify(answer, null, 2);
  download = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  return element("a", { id: "download", href: download, download: "predictions.json" }, "Download JSON");
}

// ---- scores over time

function timeline(faces, threshold) {
  const scored = faces.filter((face) => face.frames.length);
  if (!scored.length) return [];
  const frames = scored.flatMap((face) => face.frames);
  const place = axes(frames.map((frame) => frame.time), [...frames.map((frame) => frame.score), threshold]);
  const drawing = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-label": "scores over time",
  }, ...grid(place, threshold));
  const figures = [];
  for (const face of scored) drawing.append(...curve(face, place, figures));
  const legend = scored.map((face) => {
    const square = svg("svg", { class: `square ${colour(face)}`, viewBox: "0 0 1 1", "aria-hidden": true },
      svg("rect", { width: 1, height: 1 }));
    return element("li", {}, square, `face ${face.face}`);
  });
  return [
    element("h3", {}, "Scores over time"),
    element("div", { class: "wide timeline" }, drawing),
    element("ul", { class: "legend small" }, ...legend),
    element("p", { class: "small" }, "Every point is a frame that was looked at. Numbers are peaks."),
    element("div", { class: "peaks" }, ...figures),
  ];
}

function curve(face, place, figures) {
  const at = (frame) => place(frame.time, frame.score);
  const points = face.frames.map((frame) => at(frame).map((one) => one.toFixed(1)));
  const parts = [svg("polyline", { points: points.join(" "), class: colour(face) })];
  parts.push(...points.map(([cx, cy]) => svg("circle", { cx, cy, r: 2, class: colour(face) })));
  for (const peak of face.peaks) {
    const number = figures.length + 1;
    const [x, y] = at(peak);
    const text =
      `face ${face.face}, ${clock(peak.time)}, frame ${peak.frame}: score ${peak.score.toFixed(3)}`;
    parts.push(svg("a", { href: `#peak${number}`, "aria-label": `Peak ${number}: ${text}` },
      svg("title", {}, text),
      svg("circle", { cx: x.toFixed(1), cy: y.toFixed(1), r: 6, class: colour(face) }),
      svg("text", { x: x.toFixed(1), y: (y - 10).toFixed(1), class: "middle" }, String(number))));
    const figure = picture(peak.picture, text, `${number}: ${text}`);
    figure.id = `peak${number}`;
    figures.push(figure);
  }
  return parts;
}

// Seconds and scores to places in the drawing. Scores lie in [0, 1] or the drawing is made higher.
function axes(times, scores) {
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const [low, high] = [Math.min(0, ...scores), Math.max(1, ...scores)];
  const middle = (first + last) / 2, half = Math.max(last - first, 1) / 2;
  const place = (time, score) => [
    LEFT + ((time - middle + half) / (2 * half)) * (RIGHT - LEFT),
    BOTTOM - ((score - low) / (high - low)) * (BOTTOM - TOP),
  ];
  return Object.assign(place, { low, high, begin: middle - half, end: middle + half });
}

function grid(place, threshold) {
  const parts = [];
  const words = (x, y, text, kind = "") => parts.push(svg("text", { x, y, class: kind }, text));
  const level = (score, kind) => {
    const [, y] = place(0, score);
    parts.push(svg("line", { class: kind, x1: LEFT, x2: RIGHT, y1: y, y2: y }));
    return y;
  };
  for (const score of [place.low, (place.low + place.high) / 2, place.high])
    words(LEFT - 6, level(score, "grid") + 4, String(+score.toFixed(2)), "end");
  const step = round((place.end - place.begin) / TICKS);
  for (let time = Math.max(0, Math.ceil(place.begin / step)) * step; time <= place.end; time += step) {
    const [x] = place(time, 0);
    parts.push(svg("line", { class: "grid", x1: x, x2: x, y1: BOTTOM, y2: BOTTOM + 5 }));
    words(x, BOTTOM + 19, clock(time), "middle");
  }
  level(threshold, "threshold");
  words(RIGHT, 14, `dashed: the threshold, ${threshold.toFixed(3)}`, "end");
  words((LEFT + RIGHT) / 2, HEIGHT - 6, "time, minutes:seconds", "middle");
  words(4, 14, "score");
  return parts;
}

// The next step of 1, 2 or 5 times a power of ten.
function round(step) {
  const power = 10 ** Math.floor(Math.log10(step));
  return [1, 2, 5, 10].find((times) => times * power >= step) * power;
}

function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  const rest = (tenths % 600) / 10;
  return `${Math.floor(tenths / 600)}:${rest.toFixed(1).padStart(4, "0")}`;
}

function colour(face) {
  return `face${face.face % COLOURS}`;
}

// ---- sending

async function scored(file, signal) {
  if (file.size > mostBytes)
    throw new Error(`the file is larger than ${mostBytes / 1e6} megabytes`);
  const body = new FormData();
  body.append("file", file, file.name);
  const response = await fetch("/api/predict", { method: "POST", body, signal });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

async function send(file) {
  sending?.abort();
  const own = (sending = new AbortController());
  state.textContent = `${file.name} is sent and scored …`;
  shown.hidden = true;
  shown.setAttribute("aria-busy", "true");
  try {
    show(await scored(file, own.signal));
  } catch (error) {
    if (own.signal.aborted) return;
    const reason = error instanceof TypeError ? "the server does not answer" : error.message;
    shown.replaceChildren(
      element("h2", { id: "verdict" }, "Not scored"), element("p", {}, sentence(reason)));
  }
  if (own.signal.aborted) return;
  state.textContent = "";
  shown.hidden = false;
  shown.removeAttribute("aria-busy");
  shown.focus();
}

field.addEventListener("change", () => {
  if (field.files.length) send(field.files[0]);
});

for (const name of ["dragenter", "dragover"])
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
for (const name of ["dragleave", "drop"])
  document.addEventListener(name, () => drop.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const { files } = event.dataTransfer;
  if (files.length > 1) state.textContent = "One file at a time.";
  else if (files.length) send(files[0]);
});

const health = await (await fetch("/api/health")).json();
mostBytes = health.most_bytes;
if (health.note) {
  const note = document.getElementById("note");
  note.textContent = sentence(health.note);
  note.hidden = false;
}
