"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const toggle = document.createElement("button");
  toggle.type = "button";
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : dark.matches;
  const name = () => { toggle.textContent = isDark() ? "Light page" : "Dark page"; };
  toggle.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    name();
  });
  dark.addEventListener("change", name);
  name();
  document.getElementById("tools").append(toggle);

  const key = (cell, numeric) =>
    numeric ? (cell.dataset.value === undefined ? NaN : Number(cell.dataset.value))
      : cell.textContent.trim();
  const order = (a, b, numeric) => {
    if (!numeric) return a.localeCompare(b, "en", {numeric: true});
    if (Number.isNaN(a) || Number.isNaN(b)) return 0;
    return a - b;
  };
  const sort = (table, heads, index) => {
    const head = heads[index];
    const numeric = head.classList.contains("number");
    const was = head.getAttribute("aria-sort");
    const down = was === "none" ? numeric : was === "ascending";
    for (const other of heads) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row) => [key(row.cells[index], numeric), row]);
    rows.sort(([a], [b]) => {
      // What has no value comes last either way.
      const none = (numeric && Number.isNaN(a)) - (numeric && Number.isNaN(b));
      return none || (down ? -1 : 1) * order(a, b, numeric);
    });
    body.append(...rows.map(([, row]) => row));
  };
  for (const table of document.querySelectorAll("table.data")) {
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      button.title = "Sort";
      button.addEventListener("click", () => sort(table, heads, index));
      head.setAttribute("aria-sort", "none");
      head.replaceChildren(button);
    });
  }

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = Array.from(document.querySelectorAll("details:not([open])"));
    for (const details of closed) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of closed) details.open = false;
  });
})();
