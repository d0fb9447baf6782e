// The comparisons: two crops in one place with a slider between them, and the map of one's error.
// Filled when a picture comes near the window, so that a page of hundreds opens at once. Without this script the crops remain.
"use strict";

function fill(picture) {
  const crops = [...picture.querySelectorAll("img.crop")];
  const [slide, error] = picture.querySelectorAll(".stack");
  const [before, after] = picture.querySelectorAll("select");
  const slider = slide.querySelector("input");
  const [words, mean] = picture.querySelectorAll(".said");
  const named = (name) => crops.find((crop) => crop.dataset.name === name);

  function cut() {
    slide.style.setProperty("--cut", `${slider.value}%`);
    slider.setAttribute("aria-valuetext", `${slider.value} % ${before.value}, the rest ${after.value}`);
  }

  function show() {
    const [under, over, clean] = [before.value, after.value, "clean"].map(named);
    const [left, right] = slide.querySelectorAll("img");
    const [truth, restored] = error.querySelectorAll("img");
    [left.src, right.src, truth.src, restored.src] = [under.src, over.src, clean.src, over.src];
    words.textContent = after.value;
    mean.textContent = over.dataset.error;
    error.setAttribute("aria-label", `Error map of ${after.value}: mean absolute error ${over.dataset.error} on this crop`);
    cut();
  }

  slider.addEventListener("input", cut);
  for (const select of [before, after]) select.addEventListener("change", show);
  show();
}

// every comparison takes its place at once, so that nothing moves under the reader when it is filled
for (const stack of document.querySelectorAll(".stack")) {
  const crop = stack.closest(".picture").querySelector(".crop");
  for (const side of ["width", "height"]) stack.style.setProperty(`--${side}`, `${crop.getAttribute(side)}px`);
}
document.documentElement.classList.add("script");
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      fill(target);
    }
  },
  { rootMargin: "800px" },
);
for (const slide of document.querySelectorAll(".slide")) watcher.observe(slide.closest(".picture"));
