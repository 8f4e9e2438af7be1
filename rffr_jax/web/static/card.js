// The card of one file: its verdict, its faces with their evidence, or why it was not scored.

import { button, element, sentence } from "/elements.js";
import { evidence } from "/evidence.js";
import { timeline } from "/timeline.js";
import { slider, verdict } from "/verdict.js";
import { wholePicture } from "/whole.js";

const MEANING =
  "A score is an opinion about pixels. One above the threshold is no proof, and one that is not " +
  "above it does not make a picture genuine.";
let cards = 0;

export function newCard(name) {
  const id = `file${++cards}`;
  return element("section", { class: "card", id, tabindex: -1, "aria-labelledby": `${id}-name` },
    element("h2", { id: `${id}-name` }, name), element("p", {}, "Waits."));
}

function refill(card, ...parts) {
  card.replaceChildren(card.querySelector("h2"), ...parts);
}

export function showProgress(card, text = "Is sent and scored …") {
  refill(card, element("p", {}, text));
}

export function showRefusal(card, reason, again) {
  const retry = again && button("Try again", again);
  retry?.setAttribute("aria-describedby", `${card.id}-name`);
  refill(card,
    element("p", { class: "verdict" }, element("strong", {}, "Not scored."), " ", sentence(reason)),
    ...(retry ? [retry] : []));
}

export async function showAnswer(card, answer, sent) {
  const [file] = answer.files;
  const own = file.threshold?.value;
  const moves = [];
  const said = (record) => {
    const { parts, move } = verdict(record, own);
    moves.push(move);
    return parts;
  };
  const parts = [
    element("p", { class: "verdict" }, ...said(file)),
    ...(file.score === null ? [] : [element("p", {}, MEANING)]),
    ...(file.threshold?.doubts ?? []).map((doubt) => element("p", {}, sentence(doubt))),
  ];
  if (file.score !== null) {
    const scores = file.faces.map((face) => face.score).filter((score) => score !== null);
    const moved = (value) => moves.forEach((move) => move(value));
    parts.push(slider(`${card.id}-threshold`, `${card.id}-name`, file, own, scores, moved));
  }
  if (file.source?.kind === "video") {
    const drawn = timeline(card.id, `${card.id}-name`, sent, file.faces, own);
    parts.push(...drawn.parts);
    moves.push(drawn.move);
  }
  const boxed = file.faces.filter((face) => face.box);
  if (file.source?.kind === "image" && boxed.length)
    parts.push(await wholePicture(card.id, sent, boxed));
  for (const face of file.faces) {
    const id = `${card.id}-face${face.face}`;
    parts.push(element("h3", { id }, `Face ${face.face}`),
      element("p", { class: "verdict" }, ...said(face)), ...shownOf(`${id}-evidence`, face));
  }
  if (file.faces_left_out)
    parts.push(element("p", {}, `Faces that were left out, the smallest: ${file.faces_left_out}.`));
  refill(card, ...parts, origin(answer), element("p", {}, saved(card.id, answer)));
}

// What a printed card is traced by.
function origin(answer) {
  const [file] = answer.files;
  const facts = [
    ["SHA-256", file.sha256], ["examined", file.examined],
    ["changed before it was looked at", file.source?.conversions?.join(", ")],
    ["digest of the detector", answer.detector?.digest],
  ].filter(([, value]) => value);
  return element("dl", { class: "small" },
    ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

function shownOf(id, face) {
  const parts = [];
  if (face.frames.length > 1)
    parts.push(element("p", {}, `Highest in frame ${face.peak.frame} at ${face.peak.time.toFixed(2)} s.`));
  if (face.views) parts.push(...evidence(id, face));
  else if (face.picture)
    parts.push(element("img", { src: face.picture, alt: `face ${face.face}, which is not judged` }));
  return parts;
}

function saved(id, answer) {
  const text = JSON.stringify(answer, null, 2);
  const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  return element("a", {
    class: "download", href: address, download: "predictions.json", "aria-describedby": `${id}-name`,
  }, "Download JSON");
}
