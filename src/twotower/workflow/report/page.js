"use strict";
(function () {
  const plots = JSON.parse(document.getElementById("plots").textContent);
  const chosen = {};

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
    const narrow = place.clientWidth < 520;
    const layout = Object.assign(
      {
        font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: "var:ink" },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        margin: { l: 8, r: 16, t: 12, b: 8 },
        hoverlabel: { bgcolor: "var:card", bordercolor: "var:line",
          font: { color: "var:ink", size: 13 } },
        legend: { orientation: "h", x: 0, y: -0.22, yanchor: "top", font: { size: 12 } },
      },
      variant.layout
    );
    layout.xaxis = axis(layout.xaxis);
    layout.yaxis = axis(layout.yaxis);
    if (narrow && layout.showlegend !== false) {
      layout.height = layout.height + 22 * Math.ceil(variant.data.length / 2);
    }
    const colours = coloured({ data: variant.data, layout: layout }, style);
    Plotly.react(place, colours.data, colours.layout, { responsive: true, displayModeBar: false });
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
