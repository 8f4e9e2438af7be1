// The frames of a video on a slider: the crop and the score of each face at one time.

import { clock, element } from "/elements.js";

// A slider over the frames in which a face was judged; calls `moved` with the seconds of each.
export function frameSlider(id, faces, moved) {
  const times = [...new Set(faces.flatMap((face) => face.frames.map((frame) => frame.time)))];
  times.sort((one, other) => one - other);
  if (times.length < 2) return [];
  const field = element("input", { id, type: "range", min: 0, max: times.length - 1, step: 1, value: 0 });
  const value = element("output", { for: id });
  const figures = element("div", { class: "peaks" });
  const show = () => {
    const time = times[field.valueAsNumber];
    const seen = faces
      .map((face) => ({ face, frame: face.frames.find((frame) => frame.time === time) }))
      .filter(({ frame }) => frame);
    const scores = seen.map(({ face, frame }) => `face ${face.face}: score ${frame.score.toFixed(3)}`);
    value.textContent = `${clock(time)}, frame ${seen[0].frame.frame}`;
    field.setAttribute("aria-valuetext", `${value.textContent}, ${scores.join(", ")}`);
    figures.replaceChildren(...seen.map(({ frame }, place) => element("figure", {},
      ...(frame.picture ? [element("img", { src: frame.picture, alt: "" })] : []),
      element("figcaption", {}, scores[place]))));
    moved(time);
  };
  field.addEventListener("input", show);
  show();
  return [
    element("div", { class: "controls frames" }, element("label", { for: id }, "Frame"), field, value),
    figures,
  ];
}
