// Shows the log lines behind a probe, and zooms. Text from logs is only ever set as textContent.
"use strict";
(() => {
  // The order in which html/data.rs writes the parts of a bar.
  const [START, TOOK, LANE, DEVICE, RETURNED, THREAD, CPUS, NODE, HOME, LINES] = Array(10).keys();
  let panels = null;
  const data = () => panels ??= JSON.parse(document.getElementById("data").textContent);
  const details = document.getElementById("details");
  const seconds = (us, digits = 3) => (us / 1e6).toFixed(digits) + " s";
  const element = (name, text) => Object.assign(document.createElement(name), { textContent: text });

  const show = (number, bar) => {
    const panel = data()[number];
    document.querySelectorAll("path.chosen").forEach((path) => path.remove());
    const svg = document.querySelector(`[data-panel="${number}"] svg.lanes`);
    const mark = document.createElementNS("http://www.w3.org/2000/svg", "path");
    mark.setAttribute("class", "chosen");
    mark.setAttribute("d", `M${bar[START]} ${bar[LANE]}h${bar[TOOK]}v1h-${bar[TOOK]}z`);
    svg.append(mark);
    const close = element("button", "close");
    close.onclick = () => { details.hidden = true; mark.remove(); };
    const where = bar[CPUS] ? `CPU ${bar[CPUS][0]} to ${bar[CPUS][1]}` : "CPUs not known";
    const home = bar[HOME] === null ? "" : bar[HOME] ? ", on its node" : ", not on its node";
    const thread = bar[THREAD] === null ? "" : `, thread ${bar[THREAD]}`;
    const node = bar[NODE] === null ? "no node" : `node ${bar[NODE]}`;
    const told = `${panel.kernel}: ${bar[DEVICE]}, ${node}: from ${seconds(bar[START], 6)}, `
      + `took ${seconds(bar[TOOK], 6)}, returned ${bar[RETURNED]}; ${where}${home}${thread}`;
    const lines = bar[LINES].map(([file, line, text]) => `${panel.folder}/${file}:${line}: ${text}`).join("\n");
    details.replaceChildren(close, element("p", told), element("pre", lines || "no line is known"));
    details.hidden = false;
  };

  // The bar at a place, or the nearest one in its lane.
  const nearest = (bars, time, lane) => {
    let best = null, least = Infinity;
    for (const bar of bars) {
      if (bar[LANE] !== lane) continue;
      const away = Math.max(bar[START] - time, time - bar[START] - bar[TOOK], 0);
      if (away < least) [best, least] = [bar, away];
    }
    return best;
  };

  const step = (whole) => {
    const power = 10 ** Math.floor(Math.log10(Math.max(whole / 5, 1)));
    return [5 * power, 2 * power].find((step) => whole / step >= 5) ?? power;
  };

  // Shows a part of the time axis in every panel of a group.
  const view = (group, from, length) => {
    const whole = Number(group.dataset.whole);
    length = Math.min(Math.max(length, 20), whole);
    from = Math.min(Math.max(from, 0), whole - length);
    group.shown = [from, length];
    for (const svg of group.querySelectorAll(".panel svg")) {
      const height = svg.getAttribute("viewBox").split(" ")[3];
      svg.setAttribute("viewBox", `${from} 0 ${length} ${height}`);
    }
    const every = step(length), digits = Math.max(3, -Math.floor(Math.log10(every / 1e6)));
    const ticks = [];
    for (let at = Math.ceil(from / every) * every; at <= from + length; at += every) {
      const tick = element("span", seconds(at, digits));
      tick.style.left = `${(at - from) * 100 / length}%`;
      ticks.push(tick);
    }
    group.querySelector(".axis").replaceChildren(...ticks);
  };
  const zoom = (group, times, share = 0.5) => {
    const [from, length] = group.shown;
    view(group, from + length * share * (1 - times), length * times);
  };

  const groups = [...document.querySelectorAll("figure.group")];
  for (const group of groups) {
    group.shown = [0, Number(group.dataset.whole)];
    for (const svg of group.querySelectorAll("svg.lanes")) {
      const share = (event) => {
        const box = svg.getBoundingClientRect();
        return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      };
      svg.addEventListener("wheel", (event) => {
        event.preventDefault();
        zoom(group, event.deltaY > 0 ? 1.25 : 0.8, share(event)[0]);
      }, { passive: false });
      let held = null;
      svg.addEventListener("pointerdown", (event) => {
        held = { x: share(event)[0], from: group.shown[0], moved: false };
        svg.setPointerCapture(event.pointerId);
      });
      svg.addEventListener("pointermove", (event) => {
        if (!held) return;
        const moved = share(event)[0] - held.x;
        if (Math.abs(moved) > 0.005) held.moved = true;
        if (held.moved) view(group, held.from - moved * group.shown[1], group.shown[1]);
      });
      svg.addEventListener("pointerup", (event) => {
        const clicked = held && !held.moved;
        held = null;
        if (!clicked) return;
        const number = Number(svg.closest(".panel").dataset.panel);
        const { bars, lanes } = data()[number];
        const [x, y] = share(event);
        const lane = Math.min(Math.floor(y * lanes.length), lanes.length - 1);
        const bar = nearest(bars, group.shown[0] + x * group.shown[1], lane);
        if (bar) show(number, bar);
      });
    }
  }
  const each = (id, then) => document.getElementById(id)?.addEventListener("click", () => groups.forEach(then));
  each("closer", (group) => zoom(group, 0.5));
  each("wider", (group) => zoom(group, 2));
  each("shortest", (group) => view(group, 0, Number(group.dataset.shortest) * 1.1));
  each("whole", (group) => view(group, 0, Number(group.dataset.whole)));
  // Enter again shows the next probe of the name.
  let found = 0;
  document.getElementById("find")?.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    const wanted = event.target.value.trim();
    const of = ({ bars }, number) => bars.filter((bar) => bar[DEVICE] === wanted).map((bar) => [number, bar]);
    const all = data().flatMap(of);
    event.target.setCustomValidity(all.length ? "" : "no probe of such a device");
    event.target.reportValidity();
    if (all.length) show(...all[found++ % all.length]);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") details.querySelector("button")?.click();
  });
})();
