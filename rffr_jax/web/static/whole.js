// The whole picture, or one frame of a video, with a numbered box around each face.

import { colour, element, svg } from "/elements.js";

const NUMBERS_ON_A_SIDE = 20;
const JUST_AFTER = 0.001; // seconds: times are rounded to milliseconds, and a frame begins at its time

// A picture that this browser shows; `id` is that of the card.
export async function wholePicture(id, file, faces) {
  const image = element("img", { src: URL.createObjectURL(file), alt: "the whole picture" });
  try {
    await image.decode();
  } catch {
    return unseen("pictures");
  }
  const drawing = svg("svg", { role: "group", "aria-label": "faces in the picture" });
  draw(drawing, id, faces, image.naturalWidth, image.naturalHeight);
  return element("div", { class: "whole" }, image, drawing);
}

// A video that stands still, and the function that shows the frame at a time with the boxes of its
// faces, each `face` with its `box` there.
export function wholeFrame(id, file) {
  const video = element("video", {
    src: URL.createObjectURL(file), preload: "auto", playsinline: "", "aria-label": "the whole frame",
  });
  video.muted = true;
  const drawing = svg("svg", { role: "group", "aria-label": "faces in the frame" });
  const part = element("div", { class: "whole" }, video, drawing);
  let wanted = { time: 0, faces: [] };
  const seek = () => { video.currentTime = wanted.time + JUST_AFTER; };
  const giveUp = () => part.replaceWith(unseen("videos"));
  video.addEventListener("error", giveUp);
  video.addEventListener("loadedmetadata", () => (video.videoWidth ? seek() : giveUp()));
  video.addEventListener("seeked", () =>
    draw(drawing, id, wanted.faces, video.videoWidth, video.videoHeight));
  const show = (time, faces) => {
    wanted = { time, faces };
    drawing.replaceChildren();
    if (video.readyState >= HTMLMediaElement.HAVE_METADATA) seek();
  };
  return { part, show };
}

function unseen(kind) {
  return element("p", { class: "small" }, `This browser does not show ${kind} of this kind.`);
}

function draw(drawing, id, faces, width, height) {
  const letter = Math.max(width, height) / NUMBERS_ON_A_SIDE;
  drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
  drawing.setAttribute("font-size", letter);
  drawing.replaceChildren(...faces.map(({ face, box }) => {
    const [left, top, right, bottom] = box;
    const place = { x: left, y: top, width: right - left, height: bottom - top };
    const number = { x: Math.max(0, left), y: Math.max(letter, top - letter / 4) };
    return svg("a", { href: `#${id}-face${face}`, "aria-label": `face ${face}` },
      svg("rect", { ...place, class: "halo" }),
      svg("rect", { ...place, class: colour({ face }) }),
      svg("text", number, String(face)));
  }));
}
