"use strict";
(() => {
  const edges = JSON.parse(document.getElementById("edges").textContent);
  const dialog = document.getElementById("edge");
  const part = (name) => document.getElementById(name);
  const order = Object.keys(edges);
  const SVG = "http://www.w3.org/2000/svg";
  let shown = null;

  const number = (value) => {
    if (value === 0) return "0";
    const size = Math.abs(value);
    const text = (size >= 1e6 || size < 1e-4) ? value.toExponential(1) : String(Number(value.toPrecision(6)));
    return text.replaceAll("-", "−");
  };

  // Round numbers between two ends, about `count` of them.
  const ticks = (low, high, count) => {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
    const first = Math.ceil(low / step);
    const found = [];
    for (let n = first; n * step <= high + step * 1e-9; n++) found.push(Number((n * step).toPrecision(12)));
    return found;
  };

  const draw = (edge) => {
    const width = 640, height = 360, left = 64, right = 16, top = 16, floor = 300, strip = 44;
    const svg = document.createElementNS(SVG, "svg");
    const add = (kind, attributes, text) => {
      const made = document.createElementNS(SVG, kind);
      for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
      if (text !== undefined) made.textContent = text;
      svg.append(made);
    };
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `${edge.adds} against ${edge.takes}`);
    let [low, high] = edge.x, least = Math.min(...edge.y), most = Math.max(...edge.y);
    if (high <= low) { low -= 0.5; high += 0.5; }
    if (most - least <= 1e-9 * Math.max(Math.abs(most), Math.abs(least), 1e-300)) {
      const room = Math.max(Math.abs(most), 1) / 2;
      least -= room; most += room;
    }
    const bottom = floor - strip - 8;
    const x = (value) => left + (value - low) / (high - low) * (width - left - right);
    const y = (value) => bottom - (value - least) / (most - least) * (bottom - top);
    for (const value of ticks(least, most, 5)) {
      add("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) });
      add("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, number(value));
    }
    add("line", { class: "grid", x1: left, x2: width - right, y1: floor, y2: floor });
    for (const value of ticks(low, high, 6)) {
      add("line", { class: "grid", x1: x(value), x2: x(value), y1: floor, y2: floor + 5 });
      add("text", { x: x(value), y: floor + 20, "text-anchor": "middle" }, number(value));
    }
    const bins = edge.bins.length, broad = (width - left - right) / bins, full = Math.max(...edge.bins, 1);
    edge.bins.forEach((count, n) => {
      if (count) add("rect", {
        class: "data", x: left + n * broad, width: Math.max(broad - 1, 1),
        y: floor - strip * count / full, height: strip * count / full,
      });
    });
    const last = edge.y.length - 1;
    const points = edge.y.map((value, n) => `${x(low + (high - low) * n / last).toFixed(1)},${y(value).toFixed(1)}`);
    add("polyline", { class: "curve", points: points.join(" ") });
    add("text", { class: "title", x: (left + width - right) / 2, y: floor + 46, "text-anchor": "middle" }, edge.takes);
    part("edge-chart").replaceChildren(svg);
  };

  const light = (name, on) => part(`line-${name}`)?.classList.toggle("on", on);

  const show = (name) => {
    const edge = edges[name];
    if (shown !== null) light(shown, false);
    shown = name;
    light(name, true);
    part("edge-title").textContent = `${edge.from} → ${edge.to}`;
    part("edge-facts").textContent = edge.facts;
    part("edge-place").textContent = `edge ${order.indexOf(name) + 1} of ${order.length}`;
    draw(edge);
    if (!dialog.open) dialog.showModal();
  };

  const follow = () => {
    const name = location.hash.replace(/^#edge-/, "");
    if (location.hash.startsWith("#edge-") && Object.hasOwn(edges, name)) show(name);
    else shut();
  };

  const step = (by) => {
    const name = order[(order.indexOf(shown) + by + order.length) % order.length];
    history.replaceState(null, "", `#edge-${name}`);
    show(name);
  };

  // Browsers tell of a closed dialog a frame later, when another edge may be open already.
  const leave = () => {
    if (dialog.open || shown === null) return;
    const name = shown;
    shown = null;
    light(name, false);
    if (location.hash.startsWith("#edge-")) history.replaceState(null, "", location.pathname + location.search);
    part(`frame-${name}`)?.focus({ preventScroll: true });
  };

  const shut = () => {
    dialog.close();
    leave();
  };

  dialog.addEventListener("close", leave);
  dialog.addEventListener("click", (event) => { if (event.target === dialog) shut(); });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  part("close").addEventListener("click", shut);
  part("before").addEventListener("click", () => step(-1));
  part("after").addEventListener("click", () => step(1));
  for (const name of order) {
    const frame = part(`frame-${name}`);
    for (const [event, on] of [["pointerenter", true], ["pointerleave", false], ["focus", true], ["blur", false]]) {
      frame?.addEventListener(event, () => light(name, on));
    }
  }
  addEventListener("hashchange", follow);
  follow();
})();
