"use strict";
(function () {
  const plots = JSON.parse(document.getElementById("plots").textContent);
  const chosen = {};
  const hiddenIn = {};

  // "var:m3" anywhere in a plot is the colour --m3 of the style sheet, light or dark.
  function coloured(value, style) {
    if (typeof value === "string" && value.startsWith("var:")) {
      return style.getPropertyValue("--" + value.slice(4)).trim();
    }
    if (Array.isArray(value)) return value.map((part) => coloured(part, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(
        Object.entries(value).map(([key, part]) => [key, coloured(part, style)])
      );
    }
    return value;
  }

  function axis(own) {
    const title = own && own.title;
    if (title) Object.assign(title, { font: { size: 13, color: "var:muted" }, standoff: 12 });
    return Object.assign(
      { gridcolor: "var:line", zerolinecolor: "var:muted", linecolor: "var:line",
        automargin: true, fixedrange: true },
      own || {}
    );
  }

  function draw(name) {
    const place = document.getElementById("plot-" + name);
    const variant = plots[name][chosen[name] || 0];
    const style = getComputedStyle(document.documentElement);
    const layout = Object.assign(
      {
        font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: "var:ink" },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        margin: { l: 8, r: 16, t: 12, b: 8 },
        hoverlabel: { bgcolor: "var:card", bordercolor: "var:line",
          font: { color: "var:ink", size: 13 } },
      },
      variant.layout
    );
    layout.xaxis = axis(layout.xaxis);
    layout.yaxis = axis(layout.yaxis);
    const hidden = hiddenIn[name] || new Set();
    const data = variant.data.map((trace) =>
      Object.assign({}, trace, { visible: hidden.has(trace.name) ? "legendonly" : true })
    );
    if (layout.showlegend !== false) {
      layout.showlegend = false;
      legend(name, place, data, style);
    }
    const colours = coloured({ data: data, layout: layout }, style);
    Plotly.react(place, colours.data, colours.layout, { responsive: true, displayModeBar: false });
  }

  // One button a model below the plot; pressed is shown.
  function legend(name, place, data, style) {
    let list = place.parentElement.querySelector(".legend");
    if (!list) {
      list = document.createElement("div");
      list.className = "legend";
      list.setAttribute("role", "group");
      list.setAttribute("aria-label", "Models shown in the plot");
      place.after(list);
    }
    const focused = document.activeElement && document.activeElement.dataset.model;
    list.replaceChildren();
    data.forEach((trace) => {
      const shown = trace.visible === true;
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.model = trace.name;
      button.setAttribute("aria-pressed", String(shown));
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = coloured((trace.line || trace.marker).color, style);
      button.append(swatch, trace.name);
      button.addEventListener("click", () => {
        const hidden = hiddenIn[name] || (hiddenIn[name] = new Set());
        if (shown) hidden.add(trace.name);
        else hidden.delete(trace.name);
        draw(name);
      });
      list.append(button);
      if (focused === trace.name) button.focus();
    });
  }

  function drawAll() { Object.keys(plots).forEach(draw); }

  document.querySelectorAll(".choices").forEach((group) => {
    group.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      group.querySelectorAll("button").forEach((other) => {
        other.setAttribute("aria-pressed", String(other === button));
      });
      chosen[group.dataset.plot] = Number(button.dataset.variant);
      draw(group.dataset.plot);
    });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  drawAll();
})();
