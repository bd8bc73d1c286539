// Sorts, filters and draws anew what the page holds already; it asks the network for nothing.

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const machine = document.getElementById("machine");
const isOfMachine = (element) => !machine.value || element.dataset.machine === machine.value;

// Tables: a search field, a choice among the values of some columns, and heads to sort by.
const tables = all("table.data").map((element) => {
  const heads = all("thead th", element);
  const name = element.getAttribute("aria-label");
  const table = new DataTable(element, {
    paging: false,
    order: [],
    autoWidth: false,
    columnDefs: [{ targets: heads.flatMap((head, n) => ("number" in head.dataset ? [n] : [])), type: "num" }],
    layout: { topStart: "info", topEnd: "search", bottomStart: null, bottomEnd: null },
    language: { search: "Search", info: "_TOTAL_ rows", infoFiltered: "of _MAX_", infoEmpty: "no rows", zeroRecords: "no row is like that" },
  });
  // The head and tools stay in place while the rows scroll.
  const scroll = element.closest(".scroll");
  const layout = element.closest(".dt-container");
  for (const row of all(".dt-layout-row:not(.dt-layout-table)", layout)) scroll.before(row);

  const choices = document.createElement("div");
  choices.className = "choices";
  heads.forEach((head, n) => {
    if (!("choice" in head.dataset)) return;
    const values = [...new Set(table.column(n).nodes().toArray().map((cell) => cell.dataset.search ?? cell.textContent))];
    if (values.length < 2) return;
    values.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    const label = document.createElement("label");
    const select = document.createElement("select");
    select.setAttribute("aria-label", `${head.dataset.name ?? head.textContent.trim()} in ${name}`);
    label.append(`${head.textContent.trim()} `, select);
    select.append(new Option("all", ""), ...values.filter((value) => value).map((value) => new Option(value, value)));
    select.addEventListener("change", () => {
      const chosen = select.value;
      table.column(n).search.fixed("choice", chosen ? (text) => text === chosen : null).draw();
    });
    choices.append(label);
  });
  scroll.before(choices);
  table.search.fixed("machine", (_text, _data, row) => isOfMachine(table.row(row).node()));
  return table;
});

// One machine, or all side by side.
const places = all(".place");
machine.closest(".switch").hidden = places.length < 2;
machine.addEventListener("change", () => {
  for (const element of all("[data-machine]:not(tr)")) element.hidden = !isOfMachine(element);
  for (const table of tables) table.draw();
});

// Verdicts.
for (const tools of all(".tools")) tools.hidden = false;
const verdict = document.getElementById("verdict");
const cards = all(".card");
verdict.addEventListener("change", () => {
  for (const card of cards) card.classList.toggle("out", Boolean(verdict.value) && card.dataset.verdict !== verdict.value);
  for (const topic of all(".topic")) topic.classList.toggle("out", !topic.querySelector(".card:not(.out)"));
});
const open = document.getElementById("open");
open.addEventListener("click", () => {
  const closed = cards.some((card) => !card.open);
  for (const card of cards) card.open = closed;
  open.textContent = closed ? "Close all" : "Open all";
});

// A link into something that is closed opens it, and what a choice had put away is shown again.
const showAll = (select) => {
  select.value = "";
  select.dispatchEvent(new Event("change"));
};
const reveal = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let at = target; at; at = at.parentElement) {
    if (at.tagName === "DETAILS") at.open = true;
    if (at.hidden) showAll(machine);
    if (at.classList.contains("out")) showAll(verdict);
  }
  if (target) target.scrollIntoView();
};
addEventListener("hashchange", reveal);
reveal();

// Plots: what stands there is a picture; drawn anew it is as wide as its place and tells its figures.
const specs = JSON.parse(document.getElementById("specs").textContent);
const views = new Map();
const draw = async (place) => {
  const spec = structuredClone(specs[place.dataset.plot]);
  if (place.clientWidth < 500) {
    spec.config.legend.columns = 2;
    spec.config.axis.labelLimit = 130;
  }
  views.get(place)?.finalize();
  const theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const options = { actions: false, ast: true, renderer: "svg", defaultStyle: false, tooltip: { theme } };
  views.set(place, (await vegaEmbed(place, spec, options)).view);
};
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    draw(entry.target);
  }
}, { rootMargin: "400px" });
for (const place of all(".plot")) seen.observe(place);
for (const select of all("select[data-figure]")) {
  const figure = select.closest("figure");
  select.addEventListener("change", () => {
    const place = figure.querySelector(".plot");
    place.dataset.plot = select.value;
    draw(place);
  });
}
document.documentElement.dataset.ready = "";
