"use strict";
(function () {
  document.documentElement.classList.add("js");
  sortTables();
  const slider = document.getElementById("lam");
  if (slider) { showImages(slider, JSON.parse(document.getElementById("data").textContent)); }

  function sortTables() {
    for (const button of document.querySelectorAll("table.sortable th button")) {
      button.addEventListener("click", function () {
        const heading = button.parentElement;
        const column = heading.cellIndex;
        const falling = heading.getAttribute("aria-sort") === "ascending";
        for (const other of heading.parentElement.cells) { other.removeAttribute("aria-sort"); }
        heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
        const body = heading.closest("table").tBodies[0];
        const rows = Array.from(body.rows);
        rows.sort(function (one, other) {
          const a = one.cells[column].dataset.key, b = other.cells[column].dataset.key;
          if (a === "" || b === "") { return (a === "") - (b === ""); }
          return falling ? b - a : a - b;
        });
        body.append(...rows);
      });
    }
  }

  function showImages(slider, data) {
    const frames = data.frames;
    const cards = Array.from(document.querySelectorAll("#gallery > li"));
    const gallery = document.getElementById("gallery");
    const wipe = document.getElementById("wipe");
    const select = document.getElementById("before");
    const readout = document.getElementById("readout");
    const jumps = Array.from(document.querySelectorAll(".jumps button"));
    let before = data.before, after = data.after;

    function number(value, signed) {
      const text = Math.abs(value).toFixed(data.places);
      const sign = value < 0 && Number(text) !== 0 ? "\u2212" : signed ? "+" : "";
      return sign + text;
    }

    function put(card, side, frame, index) {
      const holder = card.querySelector("." + side);
      const image = holder.querySelector("img");
      const source = data.images[index].pictures[frame];
      const prompt = card.querySelector(".prompt").textContent;
      image.hidden = !source;
      if (source) { image.src = source; }
      image.alt = prompt + ", \u03bb = " + frames[frame].label;
      holder.querySelector(".tag").textContent = "\u03bb = " + frames[frame].label;
    }

    function caption(index) {
      const score = data.images[index].scores[after], other = data.images[index].scores[before];
      if (score === null) { return "not scored"; }
      const text = "score " + number(score, false);
      if (other === null || before === after) { return text; }
      return text + ", " + number(score - other, true) + " against \u03bb\u00a0=\u00a0" + frames[before].label;
    }

    function draw() {
      const frame = frames[after];
      slider.value = frame.lam;
      let text = "\u03bb = " + frame.label;
      if (frame.strength) { text += " \u00b7 \u03b2/\u03bb = " + frame.strength; }
      text += " \u00b7 mean " + frame.value;
      readout.textContent = text;
      slider.setAttribute("aria-valuetext", text);
      cards.forEach(function (card, index) {
        put(card, "before", before, index);
        put(card, "after", after, index);
        card.querySelector(".score").textContent = caption(index);
      });
      for (const jump of jumps) {
        jump.setAttribute("aria-pressed", String(Number(jump.dataset.frame) === after));
      }
      for (const plot of document.querySelectorAll("#plot svg.plot")) {
        const low = Number(plot.dataset.low), high = Number(plot.dataset.high);
        const start = Number(plot.dataset.start), stop = Number(plot.dataset.stop);
        const at = start + (frame.lam - low) / (high - low) * (stop - start);
        const cursor = plot.querySelector(".cursor");
        cursor.setAttribute("x1", at);
        cursor.setAttribute("x2", at);
      }
    }

    function nearest(lam) {
      let best = 0;
      frames.forEach(function (frame, index) {
        if (Math.abs(frame.lam - lam) < Math.abs(frames[best].lam - lam)) { best = index; }
      });
      return best;
    }

    function show(index) {
      after = Math.min(Math.max(index, 0), frames.length - 1);
      draw();
    }

    slider.addEventListener("input", function () { show(nearest(Number(slider.value))); });
    slider.addEventListener("keydown", function (event) {
      const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 3, PageDown: -3 };
      if (event.key in steps) { show(after + steps[event.key]); }
      else if (event.key === "Home") { show(0); }
      else if (event.key === "End") { show(frames.length - 1); }
      else { return; }
      event.preventDefault();
    });
    for (const jump of jumps) {
      jump.addEventListener("click", function () { show(Number(jump.dataset.frame)); });
    }
    select.addEventListener("change", function () {
      before = Number(select.value);
      if (wipe.value === "0") { setWipe(50); }
      draw();
    });

    function setWipe(percent) {
      wipe.value = percent;
      gallery.style.setProperty("--wipe", wipe.value + "%");
      gallery.classList.toggle("wiping", wipe.value !== "0");
    }
    wipe.addEventListener("input", function () { setWipe(Number(wipe.value)); });

    function dragged(element, move) {
      element.addEventListener("pointerdown", function (event) {
        if (event.button !== 0) { return; }
        element.setPointerCapture(event.pointerId);
        event.preventDefault();
        move(event, element.getBoundingClientRect());
      });
      element.addEventListener("pointermove", function (event) {
        if (element.hasPointerCapture(event.pointerId)) {
          move(event, element.getBoundingClientRect());
        }
      });
    }

    for (const pair of document.querySelectorAll("#gallery .pair")) {
      dragged(pair, function (event, box) {
        setWipe(Math.min(Math.max(100 * (event.clientX - box.left) / box.width, 0), 100));
      });
    }
    for (const plot of document.querySelectorAll("#plot svg.plot")) {
      dragged(plot, function (event, box) {
        const at = (event.clientX - box.left) / box.width * plot.viewBox.baseVal.width;
        const start = Number(plot.dataset.start), stop = Number(plot.dataset.stop);
        const low = Number(plot.dataset.low), high = Number(plot.dataset.high);
        show(nearest(low + (at - start) / (stop - start) * (high - low)));
      });
    }
    setWipe(0);
    draw();
  }
})();
