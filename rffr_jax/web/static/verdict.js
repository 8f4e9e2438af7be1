// What is said of a score at a threshold, and the slider that moves the threshold which is shown.

import { button, element, sentence } from "/elements.js";

export function status(record, threshold) {
  if (record.score === null) return "unknown";
  return record.score > threshold ? "fake" : "real";
}

// A verdict in words, and the function that says it at another threshold.
export function verdict(record, threshold) {
  const [word, said] = [element("strong"), element("span")];
  const move = (value) => {
    word.className = status(record, value);
    word.textContent = sentence(status(record, value));
    said.textContent = inWords(record, value);
  };
  move(threshold);
  return { parts: [word, " ", said], move };
}

function inWords(record, threshold) {
  if (record.score === null) return sentence(record.reason ?? "no reason was given");
  const where = record.score > threshold ? "above" : "not above";
  const calibrated = typeof record.probability === "number"
    ? ` (calibrated probability ${record.probability.toFixed(2)})` : "";
  return `Score ${record.score.toFixed(3)}, ${where} the threshold ${threshold.toFixed(3)}${calibrated}.`;
}

// A slider that calls `moved` with each threshold it is set to; `name` is the card's heading.
export function slider(id, name, record, own, scores, moved) {
  const note = element("p", { class: "small", id: `${id}-note` },
    "This slider changes only what is shown here. " +
    `The file's own threshold, ${own.toFixed(3)}, and the verdict by it stay in the JSON.`);
  const field = element("input", {
    id, type: "range", step: 0.001,
    "aria-labelledby": `${id}-label ${name}`, "aria-describedby": note.id,
    min: Math.min(0, own, ...scores), max: Math.max(1, own, ...scores), value: own,
  });
  const value = element("output", { for: id, "aria-live": "off" });
  const show = (threshold) => {
    value.textContent = threshold.toFixed(3);
    field.setAttribute("aria-valuetext", `${threshold.toFixed(3)}, verdict: ${status(record, threshold)}`);
    moved(threshold);
  };
  field.addEventListener("input", () => show(field.valueAsNumber));
  const back = button("Back to the file's own", () => {
    field.value = own;
    show(own);
  });
  show(own);
  return element("div", { class: "threshold" },
    element("div", { class: "controls" },
      element("label", { for: id, id: `${id}-label` }, "Threshold"), field, value, back), note);
}
