// The scores of a video's faces over time. Scores lie in [0, 1] or the drawing is made higher.

import { clock, colour, element, svg } from "/elements.js";
import { frameSlider } from "/frames.js";

const HEIGHT = 250, LEFT = 40, TOP = 26, BOTTOM = 206;
const WIDEST = 720, BESIDE = 72, MARGIN = 14, TICK = 70;

// The curves of the faces of the video `sent`, and the function that moves the threshold's line.
// Written as wide as the window, so that nothing is scrolled sideways; `name` is the card's heading.
export function timeline(id, name, sent, faces, threshold) {
  const scored = faces.filter((face) => face.frames.length);
  if (!scored.length) return { parts: [], move: () => {} };
  const frames = scored.flatMap((face) => face.frames);
  const width = Math.min(WIDEST, document.documentElement.clientWidth - BESIDE);
  const place = axes(
    width, frames.map((frame) => frame.time), [...frames.map((frame) => frame.score), threshold]);
  const drawing = svg("svg", {
    viewBox: `0 0 ${width} ${HEIGHT}`, role: "group", "aria-label": "scores over time",
  }, svg("g", { "aria-hidden": true }, ...grid(place)));
  const line = thresholdLine(place);
  line.move(threshold);
  drawing.append(...line.parts);
  const cursor = svg("line", { class: "cursor", y1: TOP, y2: BOTTOM });
  drawing.append(cursor);
  const slider = frameSlider(id, name, sent, faces, (time) => {
    const [x] = place(time, 0);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
  });
  const figures = [];
  for (const face of scored) drawing.append(...curve(id, face, place, figures));
  const legend = scored.map((face) => {
    const square = svg("svg", { class: `square ${colour(face)}`, viewBox: "0 0 1 1", "aria-hidden": true },
      svg("rect", { width: 1, height: 1 }));
    return element("li", {}, square, `face ${face.face}`);
  });
  const parts = [
    element("h3", {}, "Scores over time"),
    element("div", { class: "timeline" }, drawing),
    element("ul", { class: "legend small" }, ...legend),
    ...slider,
    element("p", { class: "small" }, "Every point is a frame that was judged. Numbers are peaks:"),
    element("div", { class: "peaks" }, ...figures),
  ];
  return { parts, move: line.move };
}

function curve(id, face, place, figures) {
  const at = (frame) => place(frame.time, frame.score);
  const points = face.frames.map((frame) => at(frame).map((one) => one.toFixed(1)));
  const parts = [svg("polyline", { points: points.join(" "), class: colour(face) })];
  parts.push(...points.map(([cx, cy]) => svg("circle", { cx, cy, r: 2, class: colour(face) })));
  for (const peak of face.peaks) {
    const number = figures.length + 1;
    const [x, y] = at(peak);
    const text =
      `face ${face.face}, ${clock(peak.time)}, frame ${peak.frame}: score ${peak.score.toFixed(3)}`;
    parts.push(svg("a", { href: `#${id}-peak${number}` },
      svg("title", {}, `peak ${number}: ${text}`),
      svg("circle", { cx: x.toFixed(1), cy: y.toFixed(1), r: 6, class: colour(face) }),
      svg("text", { x: x.toFixed(1), y: (y - 10).toFixed(1), class: "middle" }, String(number))));
    figures.push(element("figure", { id: `${id}-peak${number}` },
      element("img", { src: peak.picture, alt: `face ${face.face}` }),
      element("figcaption", {}, `${number}: ${text}`)));
  }
  return parts;
}

// Seconds and scores to places in a drawing of this width.
function axes(width, times, scores) {
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const [low, high] = [Math.min(0, ...scores), Math.max(1, ...scores)];
  const middle = (first + last) / 2, half = Math.max(last - first, 1) / 2;
  const place = (time, score) => [
    LEFT + ((time - middle + half) / (2 * half)) * (width - MARGIN - LEFT),
    BOTTOM - ((score - low) / (high - low)) * (BOTTOM - TOP),
  ];
  return Object.assign(place, {
    low, high, right: width - MARGIN, begin: middle - half, end: middle + half,
  });
}

function grid(place) {
  const parts = [];
  const words = (x, y, text, kind = "") => parts.push(svg("text", { x, y, class: kind }, text));
  for (const score of [place.low, (place.low + place.high) / 2, place.high]) {
    const [, y] = place(0, score);
    parts.push(svg("line", { class: "grid", x1: LEFT, x2: place.right, y1: y, y2: y }));
    words(LEFT - 6, y + 4, String(+score.toFixed(2)), "end");
  }
  const step = round(((place.end - place.begin) * TICK) / (place.right - LEFT));
  for (let time = Math.max(0, Math.ceil(place.begin / step)) * step; time <= place.end; time += step) {
    const [x] = place(time, 0);
    parts.push(svg("line", { class: "grid", x1: x, x2: x, y1: BOTTOM, y2: BOTTOM + 5 }));
    words(x, BOTTOM + 19, clock(time), "middle");
  }
  words((LEFT + place.right) / 2, HEIGHT - 6, "time, minutes:seconds", "middle");
  words(4, 14, "score");
  return parts;
}

function thresholdLine(place) {
  const line = svg("line", { class: "threshold", x1: LEFT, x2: place.right });
  const words = svg("text", { x: place.right, y: 14, class: "end" });
  const move = (threshold) => {
    const [, y] = place(0, threshold);
    line.setAttribute("y1", y);
    line.setAttribute("y2", y);
    words.textContent = `dashed: the threshold, ${threshold.toFixed(3)}`;
  };
  return { parts: [line, words], move };
}

// The next step of 1, 2 or 5 times a power of ten.
function round(step) {
  const power = 10 ** Math.floor(Math.log10(step));
  return [1, 2, 5, 10].find((times) => times * power >= step) * power;
}
