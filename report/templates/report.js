"use strict";
(function () {
  document.documentElement.classList.add("js");
  const table = document.getElementById("candidates");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const points = Array.from(document.querySelectorAll("a[data-row]"));
  const said = document.getElementById("said");
  const form = document.getElementById("filter");
  const count = document.getElementById("count");

  const rowOf = (name) => document.getElementById("row-" + name);
  const light = (name, on) => {
    points.filter((point) => point.dataset.row === name).forEach((point) => point.classList.toggle("lit", on));
    const row = rowOf(name);
    if (row) row.classList.toggle("lit", on);
  };
  for (const point of points) {
    const name = point.dataset.row;
    const show = () => { light(name, true); said.textContent = point.getAttribute("aria-label"); };
    const hide = () => light(name, false);
    point.addEventListener("mouseenter", show);
    point.addEventListener("mouseleave", hide);
    point.addEventListener("focus", show);
    point.addEventListener("blur", hide);
  }
  for (const row of rows) {
    const name = row.dataset.row;
    row.addEventListener("mouseenter", () => light(name, true));
    row.addEventListener("mouseleave", () => light(name, false));
  }

  const limits = () => Array.from(form.elements).filter((each) => each.dataset.of && each.value !== "");
  const filter = () => {
    const asked = limits();
    let left = 0;
    for (const row of rows) {
      const within = asked.every((each) => Number(row.dataset[each.dataset.of]) <= Number(each.value));
      row.classList.toggle("hidden", !within);
      points.filter((point) => point.dataset.row === row.dataset.row)
        .forEach((point) => point.classList.toggle("dim", !within));
      left += within ? 1 : 0;
    }
    count.textContent = asked.length ? left + " of " + rows.length + " candidates are within these limits." : "";
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));

  table.querySelectorAll("thead th[data-key]").forEach((head) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("th[aria-sort]").forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = head.dataset.key;
      const value = (row) => (head.dataset.text ? row.dataset[key] : Number(row.dataset[key]));
      const order = (a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0);
      rows.sort((a, b) => (up ? order(a, b) : order(b, a)));
      body.append(...rows);
    });
  });
})();
