// The pictures of a face's evidence, all of them or one at a time.

import { element, sentence } from "/elements.js";

const MEANINGS = {
  original: "the face as the detector reads it",
  reconstruction: "of each block, by a model of real faces",
  residual: "the difference of the two, amplified; grey is none",
  heat: "the size of the residual in each block",
};

// A face's views with a switch; `id` is unique in the page.
export function evidence(id, face) {
  const figures = element("div", { class: "views", "data-shown": "all" },
    ...face.views.map((view) => figure(view, face)));
  const choices = ["all", ...face.views.map((view) => view.name)].map((name) => {
    const field = element("input", { type: "radio", name: id, value: name, id: `${id}-${name}` });
    field.checked = name === "all";
    field.addEventListener("change", () => { figures.dataset.shown = name; });
    return element("label", { for: field.id }, field, ` ${name}`);
  });
  const parts = [
    element("fieldset", { class: "choices" },
      element("legend", {}, `Evidence of face ${face.face}`), ...choices),
    figures,
  ];
  if (face.heat_scale) parts.push(element("p", { class: "small" }, face.heat_scale.meaning));
  return parts;
}

function figure(view, face) {
  const parts = [
    element("img", { src: view.picture, alt: `${view.title}, face ${face.face}` }),
    element("figcaption", {}, `${sentence(view.title).slice(0, -1)}: ${MEANINGS[view.name]}.`),
  ];
  if (view.name === "heat") {
    const { colours, labels } = face.heat_scale;
    parts.splice(1, 0, element("div", { class: "scale" },
      element("img", { src: colours, alt: "" }),
      element("p", {}, ...labels.map((label) => element("span", {}, label)))));
  }
  return element("figure", { class: view.name }, ...parts);
}
